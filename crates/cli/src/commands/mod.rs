//! The commands: a file per command, a folder per noun.
//!
//! Each file has `Args`, whose doc comment is the command's help, and one function `run`. The tree
//! that ties them together is in [`tree`].

mod audit;
mod branch;
mod completions;
mod connection;
mod credential;
mod exec;
mod group;
mod helper;
mod invitation;
mod lease;
mod login;
mod logout;
mod member;
mod organization;
mod password;
mod pipeline;
mod repository;
mod run;
mod runner;
mod setup;
mod tag;
mod token;
mod tree;
mod whoami;

pub(crate) use tree::Command;
