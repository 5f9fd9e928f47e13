use std::time::SystemTime;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use crate::{
    desk::{Closed, Desk},
    entry::{Draft, Entry, NewEntry, Refusal},
    store::{Store, StoreError},
};

/// How many entries a page has unless `limit` says otherwise.
const PAGE_ENTRIES_DEFAULT: usize = 20;

/// How many entries a page has at most: about 500 KiB of the longest ones.
const PAGE_ENTRIES_MAX: usize = 100;

/// A draft at its longest, every character written as two `\uXXXX`, and some air.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The routes: `GET /entries?before=ID&limit=N`, `POST /entries`, `GET /healthz`.
pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/entries", get(list).post(add))
        .route("/healthz", get(health))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(desk)
}

#[derive(Deserialize)]
struct Pick {
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    /// Newest first.
    entries: Vec<Entry>,
    /// The `before` of the next page; null on the last one.
    next: Option<i64>,
}

async fn list(State(desk): State<Desk>, Query(pick): Query<Pick>) -> Result<Json<Page>, Failure> {
    let limit = pick.limit.unwrap_or(PAGE_ENTRIES_DEFAULT).clamp(1, PAGE_ENTRIES_MAX);
    // One more than asked for tells whether there is a next page.
    let mut entries = desk.ask(move |store| store.newest(pick.before, limit + 1)).await??;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.id);
    Ok(Json(Page { entries, next }))
}

async fn add(
    State(desk): State<Desk>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<(StatusCode, Json<Entry>), Failure> {
    let Json(draft) = draft?;
    let entry = NewEntry::try_from(draft)?;
    let added = desk.ask(move |store| store.add(&entry, SystemTime::now())).await??;
    Ok((StatusCode::CREATED, Json(added)))
}

async fn health(State(desk): State<Desk>) -> Result<&'static str, Failure> {
    desk.ask(Store::check).await??;
    Ok("ok\n")
}

/// Why there is no other answer: a status, and `{"error": ...}` in words for the reader.
enum Failure {
    Refused(Refusal),
    NotADraft(JsonRejection),
    Store(StoreError),
    Closed,
}

#[derive(Serialize)]
struct Told {
    error: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::Refused(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()),
            Self::NotADraft(rejection) => (rejection.status(), rejection.body_text()),
            Self::Store(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            Self::Closed => (StatusCode::INTERNAL_SERVER_ERROR, "the database is closed: restart entries".to_owned()),
        };
        (status, Json(Told { error })).into_response()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::NotADraft(rejection)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Closed> for Failure {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}
