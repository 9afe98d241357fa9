//! The tree of commands: each noun's verbs, and the file that each runs.

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

/// Declares a noun's verbs. The help of each is the doc comment of its file's `Args`.
macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident in $noun:ident { $($verb:ident = $file:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Subcommand)]
        pub(crate) enum $name { $($verb(super::$noun::$file::Args),)* }

        impl $name {
            async fn run(self, context: &Context) -> Result<u8, CliError> {
                match self {
                    $(Self::$verb(args) => super::$noun::$file::run(context, args).await?,)*
                }
                Ok(0)
            }
        }
    )*};
}

verbs! {
    Organization in organization { Create = create, List = list, Rename = rename, }
    Member in member { Add = add, List = list, SetRole = set_role, Remove = remove, }
    Group in group { Create = create, List = list, Update = update, Delete = delete, }
    Token in token { Create = create, List = list, Revoke = revoke, }
    Connection in connection {
        Create = create,
        List = list,
        Get = get,
        Types = types,
        Rename = rename,
        Scope = scope,
        Verify = verify,
        Reconfigure = reconfigure,
        Rollback = rollback,
        Transfer = transfer,
        Explain = explain,
        Usage = usage,
        Delete = delete,
    }
    Credential in credential {
        Create = create,
        List = list,
        Get = get,
        Rename = rename,
        Delete = delete,
    }
    Repository in repository { List = list, }
    Branch in branch { List = list, Merge = merge, Delete = delete, }
    Tag in tag { Delete = delete, }
    Pipeline in pipeline {
        Check = check,
        Create = create,
        Update = update,
        List = list,
        Get = get,
        Approve = approve,
        Revoke = revoke,
        Members = members,
        Share = share,
        Unshare = unshare,
        Delete = delete,
    }
    Run in run {
        Start = start,
        Watch = watch,
        Logs = logs,
        List = list,
        Get = get,
        Cancel = cancel,
        Retry = retry,
    }
    Lease in lease { List = list, Get = get, End = end, }
    Runner in runner { Register = register, List = list, Remove = remove, Start = start, }
    Audit in audit { List = list, }
    Invitation in invitation { Accept = accept, }
    Password in password { Change = change, }
}

/// Everything that `keyferry` does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Setup(super::setup::Args),
    Login(super::login::Args),
    Logout(super::logout::Args),
    Whoami(super::whoami::Args),
    /// Accept an invitation to an organization
    #[command(subcommand)]
    Invitation(Invitation),
    /// Change your password
    #[command(subcommand)]
    Password(Password),
    /// Organizations: tenants of a server, invisible to each other
    #[command(subcommand)]
    Organization(Organization),
    /// Members: people and their roles in an organization
    #[command(subcommand)]
    Member(Member),
    /// Groups: named sets of users, for the custom scope of connections
    #[command(subcommand)]
    Group(Group),
    /// API tokens: what scripts sign in with
    #[command(subcommand)]
    Token(Token),
    /// Connections: what pipelines name to get access to a service
    #[command(subcommand)]
    Connection(Connection),
    /// Credentials: the authority behind connections
    #[command(subcommand)]
    Credential(Credential),
    /// Repositories that a connection shows
    #[command(subcommand)]
    Repository(Repository),
    /// Branches, seen and changed through a connection
    #[command(subcommand)]
    Branch(Branch),
    /// Tags, changed through a connection
    #[command(subcommand)]
    Tag(Tag),
    /// Pipelines: YAML text and its rights to connections
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Runs of pipelines
    #[command(subcommand)]
    Run(Run),
    /// Leases: what was given to whom, and until when
    #[command(subcommand)]
    Lease(Lease),
    Exec(super::exec::Args),
    /// Runners: programs that execute jobs
    #[command(subcommand)]
    Runner(Runner),
    /// The audit record: who did what
    #[command(subcommand)]
    Audit(Audit),
    Helper(super::helper::Args),
    Completions(super::completions::Args),
}

impl Command {
    /// Runs the command; returns the exit code of the command that was run inside, else 0.
    pub(crate) async fn run(self, context: &Context) -> Result<u8, CliError> {
        match self {
            Self::Setup(args) => super::setup::run(context, args).await?,
            Self::Login(args) => super::login::run(context, args).await?,
            Self::Logout(args) => super::logout::run(context, args).await?,
            Self::Whoami(args) => super::whoami::run(context, args).await?,
            Self::Completions(args) => super::completions::run(context, args)?,
            Self::Helper(args) => return super::helper::run(context, args),
            Self::Exec(args) => return super::exec::run(context, args).await,
            Self::Invitation(verb) => return verb.run(context).await,
            Self::Password(verb) => return verb.run(context).await,
            Self::Organization(verb) => return verb.run(context).await,
            Self::Member(verb) => return verb.run(context).await,
            Self::Group(verb) => return verb.run(context).await,
            Self::Token(verb) => return verb.run(context).await,
            Self::Connection(verb) => return verb.run(context).await,
            Self::Credential(verb) => return verb.run(context).await,
            Self::Repository(verb) => return verb.run(context).await,
            Self::Branch(verb) => return verb.run(context).await,
            Self::Tag(verb) => return verb.run(context).await,
            Self::Pipeline(verb) => return verb.run(context).await,
            Self::Run(verb) => return verb.run(context).await,
            Self::Lease(verb) => return verb.run(context).await,
            Self::Runner(verb) => return verb.run(context).await,
            Self::Audit(verb) => return verb.run(context).await,
        }
        Ok(0)
    }
}
