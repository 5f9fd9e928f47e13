//! The vocabulary of the tests.

mod app_dir;
mod backend;
mod certificates;
mod facts;
mod files;
pub(crate) mod fixture;
mod from;
mod http;
mod marks;
mod pebble;
mod ports;
pub(crate) mod programs;
mod routed;
mod running;
mod said;
mod served;
mod terminal;
mod wait;

pub(crate) use app_dir::{AppDir, Output, finish, finish_within};
pub(crate) use backend::Backend;
pub(crate) use certificates::Ca;
pub(crate) use files::most_files;
pub(crate) use from::connect_from;
pub(crate) use http::{Response, get, try_get, try_get_at, whole};
pub(crate) use marks::{Marked, marked};
pub(crate) use pebble::{Pebble, Wanted};
pub(crate) use ports::{Base, is_free};
pub(crate) use routed::Routed;
pub(crate) use running::Running;
pub(crate) use served::{Apps, Served};
pub(crate) use terminal::Terminal;
pub(crate) use wait::{LIMIT, Stopwatch, pause, until};
