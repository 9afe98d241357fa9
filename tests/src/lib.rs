//! Journeys: the product as people use it, with real programs against real servers.
//!
//! The stories are in `tests/journeys/`, a file each; what they stand on is `testkit`. A rule that
//! a crate can show by itself is tested there and not here.
