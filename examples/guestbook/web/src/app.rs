use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;

use crate::{
    client::{Added, Draft, Entries},
    guard,
    page::{Notice, Page},
};

/// The longest draft, every character four bytes and each of those written as `%XX`, and some air.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// When a program should ask again while entries is away: it is back within a few seconds, or needs its developer.
const RETRY_AFTER_SECS: &str = "5";

/// The routes: the page, its form, its two files, and whether web itself is well.
pub(crate) fn router(entries: Entries) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/entries", post(add))
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/style.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css")], include_str!("../static/style.css")) }),
        )
        .route(
            "/icon.svg",
            get(|| async { ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("../static/icon.svg")) }),
        )
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(|mut response: Response| async {
            guard::protect(response.headers_mut());
            response
        }))
        .with_state(entries)
}

#[derive(Deserialize)]
struct Pick {
    before: Option<i64>,
}

async fn show(State(entries): State<Entries>, Query(pick): Query<Pick>) -> Response {
    let draft = &Draft::default();
    match entries.page(pick.before).await {
        Ok(book) => html(StatusCode::OK, &Page { notice: None, draft, book: Some(&book) }),
        Err(away) => bad_gateway(&Page { notice: Some(Notice::Away(&away)), draft, book: None }),
    }
}

async fn add(State(entries): State<Entries>, headers: HeaderMap, Form(draft): Form<Draft>) -> Response {
    if guard::is_cross_origin(&headers) {
        // What the other site wrote is not shown, so that nobody sends it by mistake.
        let page = Page { notice: Some(Notice::CrossOrigin), draft: &Draft::default(), book: None };
        return html(StatusCode::FORBIDDEN, &page);
    }
    match entries.add(&draft).await {
        Ok(Added::InTheBook) => Redirect::to("/").into_response(),
        Ok(Added::Refused(reason)) => {
            let page = Page { notice: Some(Notice::Refused(&reason)), draft: &draft, book: None };
            html(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
        Err(away) => bad_gateway(&Page { notice: Some(Notice::NotKnown(&away)), draft: &draft, book: None }),
    }
}

fn html(status: StatusCode, page: &Page<'_>) -> Response {
    (status, Html(page.to_string())).into_response()
}

fn bad_gateway(page: &Page<'_>) -> Response {
    ([(header::RETRY_AFTER, RETRY_AFTER_SECS)], html(StatusCode::BAD_GATEWAY, page)).into_response()
}
