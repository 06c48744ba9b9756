"""Response models. Each docstring names the schema of the platform's published API that it fills.

Fields that have no meaning here are left out where the published schema allows it, and else fixed. JSON names
are camelCase; a field without a value is not written, unless its default in the schema is null and clients
read it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.alias_generators import to_camel

from .statuses import RunStatus

USER_ID = "local"
USERNAME = "local"
BUILD_ID = "local"
BUILD_TAG = "latest"
DEFAULT_ORIGIN = "API"


class ApiModel(BaseModel):
    """JSON as the platform writes it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        given = {to_camel(name) for name in self.model_fields_set}
        return {name: value for name, value in dumped.items() if value is not None or name in given}

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return self.model_dump(mode="json", by_alias=True)


class RunMeta(ApiModel):
    """Published schema RunMeta."""

    origin: str


class RunStats(ApiModel):
    """Published schema RunStats."""

    input_body_len: int
    restart_count: int
    resurrect_count: int
    run_time_secs: float
    duration_millis: int
    migration_count: int = 0
    compute_units: float = 0


class RunOptions(ApiModel):
    """Published schema RunOptions; memory and disk are fixed, since jobs share this container's."""

    build: str = BUILD_TAG
    timeout_secs: int
    memory_mbytes: int = 1024
    disk_mbytes: int = 2048
    restart_on_error: bool = False
    max_items: int | None = None
    max_total_charge_usd: float | None = None


class RunListItem(ApiModel):
    """Published schema RunListItem (formerly RunShort)."""

    id: str
    act_id: str
    user_id: str = USER_ID
    actor_task_id: str | None = None
    status: RunStatus
    started_at: str
    finished_at: str | None
    build_id: str = BUILD_ID
    meta: RunMeta
    usage_total_usd: float = 0
    default_key_value_store_id: str
    default_dataset_id: str
    default_request_queue_id: str = ""


class DefaultStorage(ApiModel):
    """The storages of one kind in the published schema StorageIds."""

    default: str


class StorageIds(ApiModel):
    """Published schema StorageIds."""

    datasets: DefaultStorage
    key_value_stores: DefaultStorage


class Run(RunListItem):
    """Published schema Run."""

    status_message: str | None = None
    is_status_message_terminal: bool
    stats: RunStats
    options: RunOptions
    storage_ids: StorageIds
    exit_code: int | None
    general_access: str = "RESTRICTED"
    container_url: str | None = None
    is_container_server_ready: bool = True


class Page(ApiModel):
    """Published schema PaginationResponse, as in ListOfRuns."""

    total: int
    offset: int
    limit: int
    desc: bool
    count: int
    items: list[RunListItem]


class DatasetStats(ApiModel):
    """Published schema DatasetStats."""

    read_count: int = 0
    write_count: int = 0


class Dataset(ApiModel):
    """Published schema Dataset."""

    id: str
    name: str | None = Field(default=None)
    user_id: str = USER_ID
    created_at: str
    modified_at: str
    accessed_at: str
    item_count: int
    clean_item_count: int
    act_id: str | None
    act_run_id: str | None
    console_url: str
    items_public_url: str
    general_access: str = "RESTRICTED"
    stats: DatasetStats = DatasetStats()


class KeyValueStore(ApiModel):
    """Published schema KeyValueStore."""

    id: str
    name: str | None = Field(default=None)
    user_id: str = USER_ID
    username: str = USERNAME
    created_at: str
    modified_at: str
    accessed_at: str
    act_id: str | None
    act_run_id: str | None
    console_url: str
    keys_public_url: str
    general_access: str = "RESTRICTED"


class KeyValueStoreKey(ApiModel):
    """Published schema KeyValueStoreKey."""

    key: str
    size: int
    record_public_url: str


class ListOfKeys(ApiModel):
    """Published schema ListOfKeys; iterators go on until `next_exclusive_start_key` is null."""

    items: list[KeyValueStoreKey]
    count: int
    limit: int
    exclusive_start_key: str | None
    is_truncated: bool
    next_exclusive_start_key: str | None


class TaskOptions(ApiModel):
    """Published schema TaskOptions."""

    build: str = BUILD_TAG
    timeout_secs: int
    memory_mbytes: int = 1024


class Task(ApiModel):
    """Published schema Task: a preset."""

    id: str
    user_id: str = USER_ID
    act_id: str
    name: str
    username: str = USERNAME
    created_at: str
    modified_at: str
    options: TaskOptions
    input: dict[str, Any]


class ActorStats(ApiModel):
    """Published schema ActorStats."""

    total_builds: int = 1


class Version(ApiModel):
    """Published schema Version."""

    version_number: str = "0.0"
    source_type: str = "SOURCE_FILES"
    build_tag: str = BUILD_TAG


class DefaultRunOptions(ApiModel):
    """Published schema DefaultRunOptions."""

    build: str = BUILD_TAG
    timeout_secs: int
    memory_mbytes: int = 1024


class Actor(ApiModel):
    """Published schema Actor: a task type."""

    id: str
    user_id: str = USER_ID
    name: str
    username: str = USERNAME
    title: str
    description: str | None
    is_public: bool = False
    created_at: str
    modified_at: str
    stats: ActorStats = ActorStats()
    versions: list[Version] = [Version()]
    default_run_options: DefaultRunOptions


class UserProfile(ApiModel):
    """Published schema UserProfile."""

    name: str = "Local user"


class User(ApiModel):
    """Published schema UserPrivateInfo: the one user there is."""

    id: str = USER_ID
    username: str = USERNAME
    profile: UserProfile = UserProfile()
    created_at: str
    is_paying: bool = False
