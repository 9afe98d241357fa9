//! Connections: the named, typed links to outside services that pipelines write.
//!
//! A file per use case. `trial` asks the service whether it accepts a credential, before anything
//! is stored; `reconfigure` puts another credential into a connection without any pipeline being
//! edited, and says where a secret may travel; `checks` tries connections again when it is time; `subject` is a connection as the policies see it.
//! What is done *through* a connection is in `leases/` and `repositories.rs`.

mod checks;
mod create;
mod delete;
mod explain;
mod reconfigure;
mod roll_back;
mod scope;
mod subject;
mod transfer;
mod trial;
mod update;
mod view;

pub use keyferry_store::connections::ConnectionRecord;

pub use self::create::NewConnection;
pub use self::explain::{ConnectionUsage, Explanation};
pub(crate) use self::reconfigure::changes_address;
pub use self::reconfigure::{Reconfiguration, Reconfigured};
pub use self::update::ConnectionChanges;
pub use self::view::{ConnectionDetails, ConnectionQuery};
