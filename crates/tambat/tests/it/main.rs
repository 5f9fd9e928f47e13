//! Black-box tests: everything here goes through the real binary, as a user would.
//!
//! `support` is the vocabulary: an [`AppDir`](support::AppDir) is an app's directory in a home of its own, a
//! [`Running`](support::Running) is a `tambat start` in it, `tambat-fixture` (`tests/fixtures/app` of this repository)
//! is what the apps run. A test says what it expects in those words; how it is waited for, bounded and cleaned up is
//! in there.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod support;

mod attach;
mod balance;
mod builds;
mod by_name;
mod check;
mod check_breaks;
mod control;
mod datagrams;
mod doctor;
mod ends;
mod files;
mod foreign;
mod foreman;
mod frameworks;
mod grpc;
mod guestbook;
mod handles;
mod hostile;
mod hostnames;
mod https;
mod kills;
mod limits;
mod listen;
mod logs;
mod nghttp2;
mod output;
mod ports;
mod postgres;
mod protocols;
mod proxy_protocol;
mod public_names;
mod python;
mod real_websocket;
mod recipes;
mod redis_example;
mod route;
mod route_health;
mod route_reload;
mod route_tls;
mod seen;
mod serve;
mod serve_changes;
mod signals;
mod socket;
mod start;
mod systems;
mod terminal;
mod tls_scanners;
mod trust;
mod verbs;
mod waiting;
mod words;
