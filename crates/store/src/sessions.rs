//! Sessions: signed-in people. They belong to a user, not to an organization.

use keyferry_domain::Timestamp;
use keyferry_domain::id::{SessionId, UserId};

use crate::database::On;
use crate::error::Result;
use crate::record::record;
use crate::row::params;

record! {
    /// A signed-in person.
    pub struct SessionRecord in "sessions" as "session" {
        /// Its id.
        key id: SessionId,
        /// Who signed in.
        fix user_id: UserId,
        /// The hash of the session's token.
        fix token_hash: String,
        /// When they signed in.
        fix created_at: Timestamp,
        /// When they have to sign in again.
        fix expires_at: Timestamp,
        /// When the session was last used.
        set last_used_at: Option<Timestamp>,
        /// When it was ended before its time.
        set ended_at: Option<Timestamp>,
    }
}

/// Adds a session.
pub async fn create(on: impl Into<On<'_>>, record: &SessionRecord) -> Result<()> {
    on.into().insert(record).await
}

/// Finds a session by its token's hash, ended and expired ones too; for authentication.
pub async fn find_by_hash(on: impl Into<On<'_>>, hash: &str) -> Result<Option<SessionRecord>> {
    on.into().select_one("WHERE token_hash = $1", params![hash]).await
}

/// Lists the open sessions of a user.
pub async fn list_by_user(
    on: impl Into<On<'_>>,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<SessionRecord>> {
    on.into()
        .select(
            "WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY id LIMIT 200",
            params![user, now],
        )
        .await
}

/// Writes down that a session was used, at most once a minute.
pub async fn touch(on: impl Into<On<'_>>, id: &SessionId, now: Timestamp) -> Result<()> {
    let sql = "UPDATE sessions SET last_used_at = $2 \
               WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
    let before = now.minus(std::time::Duration::from_mins(1));
    on.into().execute(sql.to_owned(), params![id, now, before]).await.map(drop)
}

/// Ends a session; tells whether it was open.
pub async fn end(on: impl Into<On<'_>>, id: &SessionId, now: Timestamp) -> Result<bool> {
    let sql = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
    Ok(on.into().execute(sql.to_owned(), params![id, now]).await? > 0)
}

/// Ends every session of a user but, when given, the one in use; returns how many were open.
pub async fn end_by_user(
    on: impl Into<On<'_>>,
    user: &UserId,
    except: Option<&SessionId>,
    now: Timestamp,
) -> Result<u64> {
    let sql = "UPDATE sessions SET ended_at = $3 \
               WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL";
    let except = except.map_or("", SessionId::as_str);
    on.into().execute(sql.to_owned(), params![user, except, now]).await
}

/// Deletes sessions that ran out before `before`; returns how many.
pub async fn delete_expired(on: impl Into<On<'_>>, before: Timestamp) -> Result<u64> {
    let sql = "DELETE FROM sessions WHERE expires_at < $1";
    on.into().execute(sql.to_owned(), params![before]).await
}
