//! Listeners of the manifest: who is reached there, and how a client tells.

mod listeners;
mod telling;
mod tls;
mod words;
