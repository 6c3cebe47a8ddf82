//! The one integration-test binary, with a module for each feature. `crates/test-support` has the helpers.

mod actions;
mod amend;
mod architecture;
mod cluster_lock;
mod command_line;
mod crash;
mod documents;
mod engine;
mod journal_formats;
mod json_schema;
mod language;
mod language_document;
mod printable;
mod relay_scale;
mod replicas;
mod rhythm;
mod scale_up;
mod service;
mod service_limits;
mod signals;
mod simulate_command;
mod simulator;
mod small_stack;
mod stores;
mod style;
mod validate;
