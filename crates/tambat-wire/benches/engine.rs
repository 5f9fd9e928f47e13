//! One exchange through the pure engine, again and again: what `cargo xtask bench engine` counts the instructions of.
//!
//! `engine SHAPE COUNT`: twice the count, minus the count, is what COUNT exchanges take and nothing else.

#![expect(clippy::print_stderr, reason = "a program for `cargo xtask bench engine`")]

use std::{env, hint::black_box, net::Ipv4Addr, process::ExitCode};

use tambat_wire::http1::{
    BodyRules, ClientFraming, Exchange, FieldSlots, Forward, Head, Hop, Limits, RequestId, ResponseRules, Scheme,
    Trusted, request_head,
};

const PLAIN: &[u8] = b"GET /items/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// As a browser asks for a page: 15 fields, two cookies.
const BROWSER: &[u8] = b"GET /app/orders/2041/items?page=3&sort=-created HTTP/1.1\r\n\
    Host: shop.example\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"141\", \"Not?A_Brand\";v=\"8\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: http://shop.example/app/orders/2041\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=b7f1c0de5a3e4d2f9c8b7a6d5e4f3c2b1a0918273645546372819a0b1c2d3e4f; theme=dark\r\n\r\n";

const ANSWER_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sun, 01 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 1024\r\n\r\n";

/// What frameworks say: 10 fields, one cookie set.
const FRAMEWORK_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Sun, 01 Nov 2026 12:00:00 GMT\r\n\
    Connection: keep-alive\r\nContent-Type: text/html; charset=utf-8\r\nX-Frame-Options: DENY\r\n\
    X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\nVary: Accept-Encoding, Cookie\r\n\
    Set-Cookie: csrftoken=k3jd8sLwq0; Path=/; SameSite=Lax\r\nContent-Length: 1024\r\n\r\n";

const BODY: [u8; 1024] = [b'x'; 1024];

/// Any moment: 2026-11-01.
const UNIX_MS: u64 = 1_793_534_400_000;

/// Not a power of two, so that its multiples differ in every bit.
const RANDOM_STEP: u128 = 0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (request, head, count) = match words[..] {
        ["plain", count] => (PLAIN, ANSWER_HEAD, count.parse().ok()),
        ["browser", count] => (BROWSER, FRAMEWORK_HEAD, count.parse().ok()),
        // `cargo bench` comes here.
        _ => (PLAIN, ANSWER_HEAD, None),
    };
    let Some(count) = count else {
        eprintln!("usage: engine plain|browser COUNT; run `cargo xtask bench engine`");
        return ExitCode::from(2);
    };
    if exchanges(request, &[head, &BODY].concat(), count) {
        return ExitCode::SUCCESS;
    }
    eprintln!("the engine did not pass on a good exchange");
    ExitCode::FAILURE
}

/// True when each of them came to its end, and both connections stay.
fn exchanges(request: &[u8], answer: &[u8], count: u64) -> bool {
    let limits = Limits::default();
    let trusted = Trusted::default();
    let hop = Hop {
        peer: Ipv4Addr::new(192, 0, 2, 7).into(),
        port: 80,
        scheme: Scheme::Http,
        framing: ClientFraming::Http1,
        trusts_peer: false,
        trusted: &trusted,
        via: "tambat-1a2b3c4d",
    };
    let (mut to_target, mut to_client) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
    (0..count).all(|nth| {
        to_target.clear();
        to_client.clear();
        let id = RequestId::new(UNIX_MS + nth, u128::from(nth).wrapping_mul(RANDOM_STEP));
        let mut slots = FieldSlots::new();
        let Head::Found(head) = request_head(black_box(request), &mut slots, &limits) else { return false };
        if head.comes_from_itself(hop.via) {
            return false;
        }
        head.write(
            &Forward {
                hop: &hop,
                strip: None,
                request_id: &id,
                hop_token: None,
                continue_here: false,
                client_certificate: None,
                passes_te: false,
            },
            &mut to_target,
        );
        let mut exchange = Exchange::new(head.facts(), BodyRules { request_bytes_max: None });
        let rules = ResponseRules {
            date: "Sun, 06 Nov 1994 08:49:37 GMT",
            via: hop.via,
            request_id: id.as_bytes(),
            headers: &[],
            set_cookie: None,
            keep_alive_allowed: true,
            limits: &limits,
        };
        let Ok(taken) = exchange.from_target(black_box(answer), &rules, &mut to_client) else { return false };
        black_box((&to_target, &to_client));
        taken.used == answer.len() && exchange.over().is_some()
    })
}
