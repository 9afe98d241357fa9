-- The whole schema of the first release. One text for SQLite and PostgreSQL: TEXT and BIGINT only.
-- Ids are text that sorts by time, times are unix milliseconds, JSON is text, flags are times.

CREATE TABLE organizations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT,
    invited_to TEXT REFERENCES organizations (id),
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX users_by_address ON users (email_folded);
CREATE UNIQUE INDEX users_with_account ON users (email_folded) WHERE invited_to IS NULL;
CREATE UNIQUE INDEX users_invited ON users (invited_to, email_folded)
    WHERE invited_to IS NOT NULL AND disabled_at IS NULL;

CREATE TABLE members (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id, organization_id);

CREATE TABLE groups (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, name_folded)
);

CREATE TABLE group_members (
    organization_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (organization_id, group_id, user_id),
    FOREIGN KEY (organization_id, group_id) REFERENCES groups (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES members (organization_id, user_id) ON DELETE CASCADE
);
CREATE INDEX group_members_by_user ON group_members (organization_id, user_id, group_id);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT,
    user_id TEXT,
    runner_id TEXT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_by_organization ON tokens (organization_id, kind, id);
CREATE INDEX tokens_by_user ON tokens (user_id, id);
CREATE INDEX tokens_by_runner ON tokens (runner_id);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT,
    ended_at BIGINT
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE credentials (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    current_number BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX credentials_by_owner ON credentials (organization_id, owner_id, id);

CREATE TABLE credential_versions (
    organization_id TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    public_fields TEXT NOT NULL,
    value_names TEXT NOT NULL,
    sealed TEXT,
    root_key TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    previous_until BIGINT,
    retired_at BIGINT,
    PRIMARY KEY (organization_id, credential_id, number),
    FOREIGN KEY (organization_id, credential_id) REFERENCES credentials (organization_id, id)
);
CREATE INDEX credential_versions_due ON credential_versions (previous_until)
    WHERE previous_until IS NOT NULL AND retired_at IS NULL;
CREATE INDEX credential_versions_by_root_key ON credential_versions (root_key)
    WHERE root_key IS NOT NULL;

CREATE TABLE connections (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    connection_type TEXT NOT NULL,
    settings TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    scope TEXT NOT NULL,
    health_status TEXT NOT NULL,
    health_reason TEXT,
    health_field TEXT,
    checked_at BIGINT,
    next_check_at BIGINT,
    last_used_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, credential_id) REFERENCES credentials (organization_id, id)
);
CREATE INDEX connections_by_name ON connections (organization_id, name_folded, id)
    WHERE deleted_at IS NULL;
CREATE INDEX connections_by_type ON connections (organization_id, connection_type, name_folded, id)
    WHERE deleted_at IS NULL;
CREATE INDEX connections_by_health ON connections (organization_id, health_status, name_folded, id)
    WHERE deleted_at IS NULL;
CREATE INDEX connections_by_owner ON connections (organization_id, owner_id, name_folded, id)
    WHERE deleted_at IS NULL;
CREATE INDEX connections_by_credential ON connections (organization_id, credential_id, name_folded, id)
    WHERE deleted_at IS NULL;
CREATE INDEX connections_due ON connections (next_check_at)
    WHERE deleted_at IS NULL AND next_check_at IS NOT NULL;

CREATE TABLE connection_members (
    organization_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    member_id TEXT NOT NULL,
    PRIMARY KEY (organization_id, connection_id, kind, member_id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id)
);
CREATE INDEX connection_members_by_member ON connection_members (organization_id, kind, member_id);

CREATE TABLE pipelines (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    current_revision BIGINT NOT NULL,
    last_run_number BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX pipelines_by_name ON pipelines (organization_id, name_folded)
    WHERE deleted_at IS NULL;

CREATE TABLE pipeline_revisions (
    organization_id TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    yaml TEXT NOT NULL,
    summary TEXT NOT NULL,
    author_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, pipeline_id, number),
    FOREIGN KEY (organization_id, pipeline_id) REFERENCES pipelines (organization_id, id)
);

CREATE TABLE pipeline_members (
    organization_id TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, pipeline_id, user_id),
    FOREIGN KEY (organization_id, pipeline_id) REFERENCES pipelines (organization_id, id)
);
CREATE INDEX pipeline_members_by_user ON pipeline_members (organization_id, user_id, pipeline_id);

CREATE TABLE bindings (
    organization_id TEXT NOT NULL,
    id TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    place TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    revision BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    approved_by TEXT,
    approved_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, pipeline_id, place, connection_id),
    FOREIGN KEY (organization_id, pipeline_id) REFERENCES pipelines (organization_id, id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id)
);
CREATE INDEX bindings_by_connection ON bindings (organization_id, connection_id, id);

CREATE TABLE runs (
    organization_id TEXT NOT NULL,
    id TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    number BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    run_trigger TEXT NOT NULL,
    started_by TEXT NOT NULL,
    inputs TEXT NOT NULL,
    comment TEXT,
    cancel_requested_at BIGINT,
    cancel_requested_by TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, pipeline_id, number),
    FOREIGN KEY (organization_id, pipeline_id, revision)
        REFERENCES pipeline_revisions (organization_id, pipeline_id, number)
);
CREATE INDEX runs_by_pipeline ON runs (organization_id, pipeline_id, id);
CREATE INDEX runs_by_state ON runs (organization_id, state, id);
CREATE INDEX runs_open ON runs (id) WHERE finished_at IS NULL;

CREATE TABLE jobs (
    organization_id TEXT NOT NULL,
    id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    stage TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    isolation TEXT,
    runner_id TEXT,
    token_hash TEXT UNIQUE,
    heartbeat_due_at BIGINT,
    heard_at BIGINT,
    lost_claims BIGINT NOT NULL,
    uses TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    queued_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, run_id, key, attempt),
    FOREIGN KEY (organization_id, run_id) REFERENCES runs (organization_id, id)
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (id);
CREATE INDEX jobs_queued ON jobs (queued_at, id) WHERE state = 'queued';
CREATE INDEX jobs_queued_by_organization ON jobs (organization_id, queued_at, id)
    WHERE state = 'queued';
CREATE INDEX jobs_by_heartbeat ON jobs (heartbeat_due_at) WHERE state = 'running';

CREATE TABLE steps (
    organization_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    key TEXT NOT NULL,
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    started_at BIGINT,
    finished_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, job_id, key),
    FOREIGN KEY (organization_id, job_id) REFERENCES jobs (organization_id, id)
);

CREATE TABLE run_logs (
    organization_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    text TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, job_id, sequence)
);

CREATE TABLE runners (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT REFERENCES organizations (id),
    name TEXT NOT NULL,
    isolation TEXT,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    deleted_at BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX runners_by_organization ON runners (organization_id, id);

CREATE TABLE workloads (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    token_id TEXT,
    label TEXT NOT NULL,
    connections TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX workloads_by_user ON workloads (organization_id, user_id, id);
CREATE INDEX workloads_open_by_token ON workloads (organization_id, token_id)
    WHERE ended_at IS NULL AND token_id IS NOT NULL;
CREATE INDEX workloads_due ON workloads (expires_at) WHERE ended_at IS NULL;

CREATE TABLE leases (
    organization_id TEXT NOT NULL,
    id TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    credential_version BIGINT NOT NULL,
    holder_kind TEXT NOT NULL,
    holder_id TEXT NOT NULL,
    run_id TEXT,
    operation TEXT NOT NULL,
    narrowing TEXT NOT NULL,
    handle TEXT,
    settings TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    handed_over_at BIGINT,
    state TEXT NOT NULL,
    ending_since BIGINT,
    ended_at BIGINT,
    end_reason TEXT,
    residue TEXT,
    attempts BIGINT NOT NULL,
    last_error TEXT,
    due_at BIGINT,
    version BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX leases_live_by_holder ON leases (organization_id, holder_id, id)
    WHERE state <> 'ended';
CREATE INDEX leases_live_by_connection ON leases (organization_id, connection_id, id)
    WHERE state <> 'ended';
CREATE INDEX leases_live_by_credential ON leases (organization_id, credential_id, credential_version)
    WHERE state <> 'ended';
CREATE INDEX leases_by_holder ON leases (organization_id, holder_id, id);
CREATE INDEX leases_by_connection ON leases (organization_id, connection_id, id);
CREATE INDEX leases_to_expire ON leases (expires_at) WHERE state IN ('pending', 'active');
CREATE INDEX leases_pending ON leases (issued_at) WHERE state = 'pending';
CREATE INDEX leases_due ON leases (due_at) WHERE state = 'ending';

CREATE TABLE idempotency_keys (
    actor_id TEXT NOT NULL,
    key TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request_mark TEXT NOT NULL,
    made TEXT,
    response TEXT,
    created_at BIGINT NOT NULL,
    done_at BIGINT,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (actor_id, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

CREATE TABLE audit_events (
    chain TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    id TEXT NOT NULL,
    organization_id TEXT,
    at BIGINT NOT NULL,
    actor_id TEXT,
    action TEXT NOT NULL,
    target_kind TEXT,
    target_id TEXT,
    outcome TEXT NOT NULL,
    request_id TEXT NOT NULL,
    event TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (chain, sequence)
);
CREATE INDEX audit_events_by_organization ON audit_events (organization_id, at, chain, sequence);
-- Nearly every event is the issue of a lease: those are found by the organization alone.
CREATE INDEX audit_events_by_action ON audit_events (organization_id, action, at, chain, sequence)
    WHERE action <> 'lease.issue';
CREATE INDEX audit_events_by_actor ON audit_events (organization_id, actor_id, at, chain, sequence);
CREATE INDEX audit_events_by_target ON audit_events (organization_id, target_id, at, chain, sequence);
CREATE INDEX audit_events_by_request ON audit_events (organization_id, request_id);
