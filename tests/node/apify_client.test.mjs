// The ways of the platform's integration tutorial with the official JavaScript client, unmodified.
// BASE_URL and TOKEN name the service; `tests/acceptance/test_apify_javascript.py` starts it.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { ApifyClient } from 'apify-client';

const client = new ApifyClient({
    token: process.env.TOKEN,
    baseUrl: process.env.BASE_URL,
    maxRetries: 0,
});

async function text(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
}

test('a task is called and its results are read', async () => {
    const run = await client.task('anyone/greet').call({ payload: [1, 2] });
    assert.equal(run.status, 'SUCCEEDED');
    assert.equal(run.actorTaskId, 'greet');
    assert.ok(run.startedAt instanceof Date && run.finishedAt instanceof Date);
    const { items } = await client.dataset(run.defaultDatasetId).listItems();
    assert.deepEqual(items, [{ taskType: 'echo', payload: [1, 2] }]);
    const output = await client.keyValueStore(run.defaultKeyValueStoreId).getRecord('OUTPUT');
    assert.deepEqual(output.value, items[0]);
});

test('waiting costs no polling interval', async () => {
    await client.user().get();
    const times = [];
    while (times.length < 6 && !times.some((ms) => ms < 550)) { // the machine may be busy
        const started = performance.now();
        await client.task('half-second').call();
        times.push(performance.now() - started);
    }
    assert.ok(Math.min(...times) >= 500 && Math.min(...times) < 550, `${times}`);
});

test('start, then wait', async () => {
    const started = await client.task('half-second').start({ ms: 300 });
    assert.ok(['READY', 'RUNNING'].includes(started.status));
    const waited = await client.run(started.id).waitForFinish({ waitSecs: 0 });
    assert.equal(waited.id, started.id);
    assert.equal((await client.run(started.id).waitForFinish()).status, 'SUCCEEDED');
    assert.equal((await client.run(started.id).get({ waitForFinish: 60 })).status, 'SUCCEEDED');
});

test('an Actor is called with its log redirected', async () => {
    const run = await client.actor('talker').call({ lines: 2, pause_ms: 50 });
    assert.equal(run.status, 'SUCCEEDED');
});

test('no input, and a large one that is compressed', async () => {
    const empty = await client.actor('echo').call(undefined, { log: null });
    const large = await client.actor('echo').call({ payload: 'x'.repeat(50_000) }, { log: null });
    const emptyItems = await client.run(empty.id).dataset().listItems();
    assert.deepEqual(emptyItems.items, [{ taskType: 'echo', payload: null }]);
    const output = await client.run(large.id).keyValueStore().getRecord('OUTPUT');
    assert.equal(output.value.payload.length, 50_000);
});

test('run options are read back', async () => {
    const options = { memory: 256, timeout: 7, build: 'beta', maxItems: 3, waitForFinish: 5 };
    const run = await client.actor('echo').start({}, options);
    assert.equal(run.options.memoryMbytes, 256);
    assert.equal(run.options.timeoutSecs, 7);
    assert.equal(run.options.build, 'beta');
});

test('items page by page and in every format', async () => {
    const run = await client.task('crawl-five').call();
    const dataset = client.dataset(run.defaultDatasetId);
    const page = await dataset.listItems({ offset: 1, limit: 2, desc: true, fields: ['number'] });
    assert.deepEqual(page.items, [{ number: 3 }, { number: 2 }]);
    assert.deepEqual([page.total, page.offset, page.limit, page.desc], [5, 1, 2, true]);
    const numbers = [];
    for await (const item of dataset.listItems({ chunkSize: 2 })) numbers.push(item.number);
    assert.deepEqual(numbers, [0, 1, 2, 3, 4]);
    assert.equal((await dataset.get()).itemCount, 5);
    for (const format of ['json', 'jsonl', 'csv', 'xml', 'html', 'rss', 'xlsx']) {
        const body = await dataset.downloadItems(format, { clean: true });
        assert.ok(body.length > 50, format);
    }
    const csv = await dataset.downloadItems('csv', { fields: ['number'], bom: false });
    assert.equal(csv.toString(), 'number\n0\n1\n2\n3\n4\n');
    assert.equal((await dataset.downloadItems('xlsx')).subarray(0, 2).toString(), 'PK');
});

test('items through a view', async () => {
    const options = { view: 'overview', fields: ['jobId'], limit: 1 };
    let items = [];
    while (items.length === 0) ({ items } = await client.dataset('default').listItems(options)); // it is on its way
    assert.deepEqual(Object.keys(items[0]), ['jobId']);
    await assert.rejects(client.dataset('default').listItems({ view: 'nope' }), {
        type: 'requested-dataset-view-does-not-exist', statusCode: 400,
    });
});

test('records and keys', async () => {
    const run = await client.task('crawl-five').call();
    const store = client.keyValueStore(run.defaultKeyValueStoreId);
    const keys = ['INPUT', 'OUTPUT', 'page.html', 'shot.png'];
    const found = [];
    for await (const item of store.listKeys()) found.push(item.key);
    assert.deepEqual(found, keys);
    const first = await store.listKeys({ limit: 3 });
    assert.equal(first.nextExclusiveStartKey, 'page.html');
    const rest = await store.listKeys({ exclusiveStartKey: 'page.html' });
    assert.deepEqual([rest.items.map((item) => item.key), rest.nextExclusiveStartKey], [['shot.png'], null]);
    assert.ok(Buffer.isBuffer((await store.getRecord('shot.png')).value));
    assert.ok((await store.getRecord('page.html')).value.startsWith('<script>'));
    assert.equal(await store.recordExists('shot.png'), true);
    assert.equal(await store.recordExists('nothing'), false);
    assert.equal(await store.getRecord('nothing'), undefined);
    assert.equal((await store.get()).id, run.id);
});

test('runs are listed and the last one is found', async () => {
    const actor = client.actor('many');
    const runs = [];
    for (const items of [1, 2]) runs.push(await actor.start({ items }, { waitForFinish: 5 }));
    const page = await actor.runs().list({ desc: true, status: 'SUCCEEDED' });
    assert.deepEqual(page.items.slice(0, 2).map((run) => run.id), [runs[1].id, runs[0].id]);
    const last = actor.lastRun({ status: 'SUCCEEDED' });
    assert.equal((await last.get()).id, runs[1].id);
    assert.equal((await last.dataset().listItems()).total, 2);
    assert.ok(await last.keyValueStore().getRecord('OUTPUT'));
    assert.match(await last.log().get(), /Run succeeded/);
    assert.equal(await actor.lastRun({ status: 'ABORTED' }).get(), undefined);
    assert.equal((await actor.lastRun({ origin: 'API' }).get()).id, runs[1].id);
    assert.equal(await actor.lastRun({ origin: 'WEBHOOK' }).get(), undefined);
});

test('abort and resurrect', async () => {
    const run = await client.task('long').start();
    assert.equal((await client.run(run.id).abort()).status, 'ABORTED');
    assert.equal((await client.run(run.id).abort({ gracefully: true })).status, 'ABORTED');
    const resurrected = await client.run(run.id).resurrect();
    assert.equal(resurrected.id, run.id);
    assert.ok(['READY', 'RUNNING'].includes(resurrected.status));
    assert.equal((await client.run(run.id).get()).stats.resurrectCount, 1);
    assert.equal((await client.run(run.id).abort()).status, 'ABORTED');
});

test('a run is resurrected with parameters of its own', async () => {
    const run = await client.task('greet').call();
    const again = await client.run(run.id).resurrect({ memory: 256, timeout: 90, build: 'beta', restartOnError: true });
    const { memoryMbytes, timeoutSecs, build, restartOnError } = again.options;
    assert.deepEqual({ memoryMbytes, timeoutSecs, build, restartOnError },
        { memoryMbytes: 256, timeoutSecs: 90, build: 'beta', restartOnError: true });
    assert.equal((await client.run(run.id).waitForFinish()).status, 'SUCCEEDED');
});

test('the log is read and streamed', async () => {
    const run = await client.actor('talker').start({ lines: 3, pause_ms: 100 });
    const streamed = await text(await client.run(run.id).log().stream());
    assert.equal(await client.log(run.id).get(), streamed);
    const lines = streamed.trimEnd().split('\n');
    for (const line of lines) assert.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ./);
    assert.equal(lines.filter((line) => line.includes('INFO line')).length, 3);
});

test('ad-hoc webhooks', async () => {
    let receive;
    const received = new Promise((resolve) => { receive = resolve; });
    const server = createServer(async (request, response) => {
        receive(JSON.parse(await text(request)));
        response.end();
    }).listen(0, '127.0.0.1');
    try {
        await new Promise((resolve) => server.once('listening', resolve));
        const requestUrl = `http://127.0.0.1:${server.address().port}/`;
        const webhooks = [{ eventTypes: ['ACTOR.RUN.SUCCEEDED'], requestUrl }];
        const run = await client.task('greet').call({}, { webhooks });
        const payload = await received;
        assert.equal(payload.eventData.actorRunId, run.id);
        assert.equal(payload.resource.status, 'SUCCEEDED');
    } finally {
        server.close();
    }
});

test('a webhook to which nothing can be sent starts no run', async () => {
    const { total } = await client.runs().list({ limit: 1 });
    for (const requestUrl of ['nonsense', 'ftp://example.com/']) {
        const webhooks = [{ eventTypes: ['ACTOR.RUN.SUCCEEDED'], requestUrl }];
        await assert.rejects(client.task('greet').start({}, { webhooks }), { type: 'invalid-parameter', statusCode: 400 });
    }
    assert.equal((await client.runs().list({ limit: 1 })).total, total);
});

test('Actors, tasks and the user are read; what is not there is undefined', async () => {
    assert.equal((await client.actor('sleep').get()).name, 'sleep');
    assert.equal((await client.task('greet').get()).actId, 'echo');
    assert.deepEqual((await client.task('greet').getInput()).payload, { hello: 'world' });
    assert.ok((await client.user().get()).username);
    for (const nothing of [client.actor('nobody'), client.task('nobody'), client.run('nobody'),
        client.dataset('nobody'), client.keyValueStore('nobody'), client.log('nobody')]) {
        assert.equal(await nothing.get(), undefined);
    }
});

test('errors have the types of the platform', async () => {
    await assert.rejects(client.task('greet').start({ unknown: 1 }), { type: 'invalid-input', statusCode: 400 });
    const stranger = new ApifyClient({ token: 'wrong', baseUrl: process.env.BASE_URL, maxRetries: 0 });
    await assert.rejects(stranger.user().get(), { type: 'user-or-token-not-found', statusCode: 401 });
    await assert.rejects(client.datasets().list(), { type: 'not-implemented', statusCode: 501 });
});
