//! Git
