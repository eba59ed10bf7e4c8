//! cowtrace: which pinned page did the process lose, who pinned it, who wrote, and what to do.
//!
//! Data flows one way: `source` yields batches of bytes, `decode` makes events of them, `trace` folds
//! these into the one state (with `ledger` and `rules`), and the `sinks` show it. ARCHITECTURE.md
//! has the map.

pub mod btf;
pub mod budget;
pub mod cli;
pub mod commands;
pub mod container;
pub mod decode;
pub mod encode;
pub mod errors;
pub mod event;
pub mod explain;
pub mod facts;
pub mod files;
pub mod finding;
pub mod history;
pub mod kallsyms;
pub mod kcore;
pub mod ledger;
pub mod maps;
pub mod owner;
pub mod pagemap;
pub mod privileges;
pub mod probes;
pub mod provoke;
pub mod reach;
pub mod registered;
pub mod rules;
pub mod secondary;
pub mod signals;
pub mod sinks;
pub mod source;
pub mod sys;
pub mod tee;
pub mod trace;
pub mod when;
