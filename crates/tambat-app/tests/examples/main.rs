//! Every example, run as its users run it: as a program, with an environment, by real clients, ended by TERM.

#![expect(clippy::expect_used, reason = "a test panics where it fails, and so do its helpers")]

mod activation;
mod app;
mod contract;
mod grpc;
mod handles;
mod manager;
