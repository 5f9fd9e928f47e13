//! Listeners of the manifest: who is reached there, and how a client tells.

mod listeners;
mod postgres;
mod telling;
mod tls;
mod words;
mod xmpp;
