//! Group B: the request line and the fields.

use super::{
    BAD, BAD_OR_VERSION, HEAD, LINE, METHOD, VERSION, Vector, evil_text, get, latin1, line, passed, post, refused,
};
use crate::hostile::stage::HOST;

const KIB: usize = 1024;

pub(super) fn all() -> Vec<(&'static str, Vec<Vector>)> {
    vec![
        ("b01", b01()),
        ("b02", b02()),
        ("b03", b03()),
        ("b04", b04()),
        ("b04", b04_passed()),
        ("b05", b05()),
        ("b06", b06()),
        ("b07", b07()),
        ("b09", b09()),
        ("b10", b10()),
        ("b11", b11()),
        ("b12", b12()),
        ("b13", b13()),
        ("b14", b14()),
        ("b15", b15()),
        ("b16", b16()),
        ("b17", b17()),
        ("b18", b18()),
        ("b19", b19()),
        ("b20", b20()),
        ("b21", b21()),
        ("b22", b22()),
        ("b23", b23()),
    ]
}

/// A request whose lines after the first are these, each with its end; Host is among them or is not.
fn lines(lines: &str) -> Vec<u8> {
    latin1(&format!("GET /MARK HTTP/1.1\r\n{lines}\r\n"))
}

pub(in crate::hostile) fn b01() -> Vec<Vector> {
    let all = [
        "",
        "X: y\r\n",
        "Hos: shop.example\r\n",
        "Hostx: shop.example\r\n",
        "X-Host: shop.example\r\n",
        "X-Forwarded-Host: shop.example\r\n",
        "Host:\r\n",
        "Host: \r\n",
        "Host: \t \r\n",
        "Connection: Host\r\n",
    ];
    let absolute = latin1("GET http://shop.example/MARK HTTP/1.1\r\n\r\n");
    refused(all.map(lines).into_iter().chain([absolute]), BAD)
}

pub(in crate::hostile) fn b02() -> Vec<Vector> {
    let all = [
        "Host: shop.example\r\nHost: shop.example\r\n",
        "Host: shop.example\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nHost: shop.example\r\n",
        "Host: shop.example\r\nhost: evil.example\r\n",
        "HOST: shop.example\r\nX: y\r\nhOsT: shop.example\r\n",
        "Host: shop.example\r\nHost:\r\n",
        "Host:\r\nHost: shop.example\r\n",
        "Connection: Host\r\nHost: shop.example\r\nHost: evil.example\r\n",
    ];
    let old = latin1("GET /MARK HTTP/1.0\r\nHost: shop.example\r\nHost: evil.example\r\n\r\n");
    refused(all.map(lines).into_iter().chain([old]), BAD)
}

pub(in crate::hostile) fn b03() -> Vec<Vector> {
    let long = "a".repeat(300);
    let dotted = format!("{}.example", vec!["a"; 150].join("."));
    let hosts = HOSTS.iter().copied().chain([long.as_str(), dotted.as_str()]);
    refused(hosts.map(|host| lines(&format!("Host: {host}\r\n"))), BAD)
}

const HOSTS: &[&str] = &[
    "a b",
    "a/b",
    "a@b",
    "a:99999",
    "a:",
    "a\0",
    "[::1",
    "a:65536",
    "a:0",
    "a:00",
    "a:-1",
    "a:+80",
    "a:8 0",
    "a: 80",
    "a :80",
    "a:80:80",
    "a:80a",
    "a:0x50",
    "a:http",
    "shop.example:",
    "shop.example:0",
    ":80",
    ":",
    "[::1]x",
    "[::1]:",
    "[::1]:0",
    "[::1]:99999",
    "[::g]",
    "[]",
    "[",
    "]",
    "::1",
    "[::1]]",
    "[[::1]]",
    "[127.0.0.1]",
    "[::1%lo]",
    "a,b",
    "a, b",
    "shop.example, shop.example",
    "..",
    ".",
    ".a",
    "a..b",
    "a..",
    "a?b",
    "a#b",
    "a\\b",
    "a;b",
    "a%00",
    "%61",
    "a\"b",
    "<a>",
    "a\u{7f}",
    "a\u{b}b",
    "a\tb",
    "a\u{e9}",
    "\u{ff}",
    "user@shop.example",
    "shop.example/",
    "/shop.example",
    "http://shop.example",
    "//shop.example",
    "shop.example?x",
    "a{b",
    "a|b",
    "a^b",
    "a`b",
    "*.shop.example",
    "*",
];

/// Two names in one request: neither is chosen.
pub(in crate::hostile) fn b04() -> Vec<Vector> {
    let targets = [
        "http://evil.example/MARK",
        "http://evil.example:80/MARK",
        "http://shop.example.evil.example/MARK",
        "http://sub.shop.example/MARK",
        "http://evil.example?MARK",
        "http:///MARK",
        "http:/MARK",
        "http:shop.example/MARK",
        "http://",
        "http:",
        "://shop.example/MARK",
        "shop.example/MARK",
        "shop.example",
        "ftp://shop.example/MARK",
        "file:///MARK",
        "http://shop.example:0/MARK",
        "http://shop.example:/MARK",
        "http://shop.example:99999/MARK",
        "http://shop.example:8o/MARK",
        "http://[::1/MARK",
        "http://shop..example/MARK",
        "http://shop.example\\@evil.example/MARK",
        "http://shop.example#@evil.example/MARK",
        "http://%73hop.example/MARK",
        "MARK",
        "*",
        "?MARK",
        "",
    ];
    refused(targets.map(|target| line(&format!("GET {target} HTTP/1.1"))), BAD)
}

/// One name, written twice.
pub(in crate::hostile) fn b04_passed() -> Vec<Vector> {
    let targets = ["http://shop.example/MARK", "HTTP://SHOP.EXAMPLE/MARK", "http://shop.example?MARK"];
    passed(targets.map(|target| line(&format!("GET {target} HTTP/1.1"))))
}

pub(in crate::hostile) fn b05() -> Vec<Vector> {
    let targets = [
        "http://user@shop.example/MARK",
        "http://user:secret@shop.example/MARK",
        "http://@shop.example/MARK",
        "http://:@shop.example/MARK",
        "http://shop.example@evil.example/MARK",
        "http://evil.example@shop.example/MARK",
        "http://user@h/MARK",
        "http://a@b@shop.example/MARK",
        "http://user%40x@shop.example/MARK",
    ];
    refused(targets.map(|target| line(&format!("GET {target} HTTP/1.1"))), BAD)
}

pub(in crate::hostile) fn b06() -> Vec<Vector> {
    let requests = [
        "CONNECT shop.example:443 HTTP/1.1",
        "CONNECT shop.example:80 HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        "CONNECT [::1]:22 HTTP/1.1",
        "CONNECT shop.example:443 HTTP/1.0",
    ];
    let mut vectors = refused(requests.map(line), METHOD);
    let with_body = latin1(&format!(
        "CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello{}",
        evil_text()
    ));
    vectors.extend(refused([with_body], METHOD));
    // In another form than its own.
    vectors.extend(refused(
        ["CONNECT /MARK HTTP/1.1", "CONNECT http://shop.example/MARK HTTP/1.1"].map(line),
        BAD_OR_METHOD,
    ));
    vectors
}

const BAD_OR_METHOD: &[super::Code] = &[(400, "bad-request"), (405, "method-refused")];

pub(in crate::hostile) fn b07() -> Vec<Vector> {
    let requests = ["TRACE /MARK HTTP/1.1", "TRACE /MARK HTTP/1.0", "TRACE http://shop.example/MARK HTTP/1.1"];
    let mut vectors = refused(requests.map(line), METHOD);
    let secret = latin1("TRACE /MARK HTTP/1.1\r\nHost: shop.example\r\nCookie: secret=1\r\nMax-Forwards: 5\r\n\r\n");
    vectors.extend(refused([secret], METHOD));
    vectors
}

pub(in crate::hostile) fn b09() -> Vec<Vector> {
    let requests =
        ["GET /MARK\r\n\r\n", "GET /MARK\r\n", "GET /\r\n", "GET\r\n\r\n", "GET /MARK \r\n\r\n", "GET  \r\n\r\n"];
    let mut bytes: Vec<Vec<u8>> = requests.iter().map(|text| latin1(text)).collect();
    bytes.push(line("GET /MARK"));
    refused(bytes, BAD_OR_VERSION)
}

pub(in crate::hostile) fn b10() -> Vec<Vector> {
    let known = ["HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/1.9", "HTTP/9.9"];
    let broken = [
        "HTTP/1.1.1",
        "http/1.1",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/",
        "HTTP",
        "HTTP/1,1",
        "HTTP/1 .1",
        "HTTP/11",
        "HTTP/A.B",
        "HTTP/1.1x",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "HTTPS/1.1",
        "Http/1.1",
        "XTTP/1.1",
        "HTTP\\1.1",
        "HTTP/1.1\0",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTP/1.1 x",
        "HTTP/1.\u{b9}",
        "ICY/1.1",
        "/1.1",
    ];
    let request = |version: &&str| line(&format!("GET /MARK {version}"));
    [refused(known.iter().map(request), VERSION), refused(broken.iter().map(request), BAD_OR_VERSION)].concat()
}

pub(in crate::hostile) fn b11() -> Vec<Vector> {
    let long = "M".repeat(300);
    let methods = [
        "GE(T",
        "(",
        "GE\0T",
        "\0",
        "GE\u{ff}T",
        "\u{ff}",
        "",
        long.as_str(),
        "GE)T",
        "GE<T",
        "GE>T",
        "GE@T",
        "GE,T",
        "GE;T",
        "GE:T",
        "GE\\T",
        "GE\"T",
        "GE/T",
        "GE[T",
        "GE]T",
        "GE?T",
        "GE=T",
        "GE{T",
        "GE}T",
        "GE\tT",
        "GE\u{7f}T",
        "\u{b}GET",
        "GET\u{b}",
        "GE\rT",
        "\r",
        "GET/",
        "\u{ef}\u{bb}\u{bf}GET",
    ];
    refused(methods.iter().map(|method| line(&format!("{method} /MARK HTTP/1.1"))), BAD)
}

pub(in crate::hostile) fn b12() -> Vec<Vector> {
    let targets = [
        "/MARK a",
        "/MARK  a",
        " /MARK",
        "/MARK\ta",
        "/MARK\u{1}",
        "/MARK\u{1f}",
        "/MARK\u{7f}",
        "/MARK\0",
        "/MARK#frag",
        "/#MARK",
        "/MARK?a#b",
        "/MARK\\a",
        "\\MARK",
        "/MARK\u{80}",
        "/MARK\u{e9}",
        "/MARK\u{ff}",
        "/MARK?\u{ff}",
        "/MARK?a b",
        "/MARK?\\",
        "/MARK?\0",
        "/MARK\u{b}",
        "/MARK\u{c}",
        "/MARK\ra",
        "/MARK\u{a0}",
        "/MARK%00",
        "/MARK%",
        "/MARK%4",
        "/MARK%zz",
        "/MARK%4g",
        "/%00/MARK",
        "/MARK?\u{1}",
    ];
    refused(targets.map(|target| line(&format!("GET {target} HTTP/1.1"))), BAD)
}

pub(in crate::hostile) fn b13() -> Vec<Vector> {
    let bytes = [9 * KIB, 17 * KIB, 100 * KIB];
    let mut all: Vec<Vec<u8>> = bytes.iter().map(|n| line(&format!("GET /MARK{} HTTP/1.1", "a".repeat(*n)))).collect();
    all.push(line(&format!("GET /MARK?{} HTTP/1.1", "a".repeat(9 * KIB))));
    all.push(line(&format!("GET http://shop.example/MARK{} HTTP/1.1", "a".repeat(9 * KIB))));
    let mut vectors = refused(all, LINE);
    // Without an end: whatever comes behind it belongs to it.
    let endless = [9 * KIB, 1024 * KIB].map(|bytes| latin1(&format!("GET /MARK{}", "a".repeat(bytes))));
    vectors.extend(refused(endless, BAD_OR_LINE));
    // A method as long as that is none, either.
    vectors.extend(refused([latin1(&"A".repeat(9 * KIB))], BAD_OR_LINE));
    vectors
}

const BAD_OR_LINE: &[super::Code] = &[(400, "bad-request"), (414, "line-too-long")];

pub(in crate::hostile) fn b14() -> Vec<Vector> {
    let field = |bytes: usize| format!("X-Filler: {}\r\n", "a".repeat(bytes));
    let name = |bytes: usize| format!("{}: x\r\n", "X".repeat(bytes));
    let many = |count: usize| (0..count).map(|nth| format!("X-{nth}: y\r\n")).collect::<Vec<_>>().concat();
    let texts = [
        field(17 * KIB),
        field(100 * KIB),
        field(1024 * KIB),
        name(17 * KIB),
        field(8 * KIB).repeat(9),
        field(15 * KIB).repeat(5),
        // With Host it is one too many.
        many(100),
        many(101),
        many(1000),
        many(10_000),
        format!("Cookie: {}\r\n", "a=b; ".repeat(4 * KIB)),
        field(1024).repeat(1000),
    ];
    let mut bytes: Vec<Vec<u8>> = texts.iter().map(|text| get(text)).collect();
    // Without an end.
    bytes.push(latin1(&format!("GET /MARK HTTP/1.1\r\nHost: {HOST}\r\nX: {}", "a".repeat(80 * KIB))));
    refused(bytes, HEAD)
}

pub(in crate::hostile) fn b15() -> Vec<Vector> {
    let all = [
        "Host : shop.example\r\n",
        "Host\t: shop.example\r\n",
        "Host: shop.example\r\nX : y\r\n",
        "Host: shop.example\r\nX\t: y\r\n",
        "Host: shop.example\r\nContent-Length : 5\r\n",
        "Host: shop.example\r\nTransfer-Encoding : chunked\r\n",
        "Host: shop.example\r\nX y: z\r\n",
    ];
    refused(all.map(lines), BAD)
}

pub(in crate::hostile) fn b16() -> Vec<Vector> {
    let all = [
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X: a\r\n \r\n",
        "X:\r\n a\r\n",
        "X: a\r\n Content-Length: 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Transfer-Encoding: chunked\r\n , identity\r\n",
        "X: a\r\n  : b\r\n",
    ];
    let mut bytes: Vec<Vec<u8>> = all.iter().map(|text| post(text, "hello")).collect();
    bytes.push(lines("Host: shop\r\n .example\r\n"));
    bytes.push(lines("Host: shop.example\r\n .evil.example\r\n"));
    refused(bytes, BAD)
}

pub(in crate::hostile) fn b17() -> Vec<Vector> {
    let all = [
        " Host: shop.example\r\n",
        "\tHost: shop.example\r\n",
        " \r\nHost: shop.example\r\n",
        " X: y\r\nHost: shop.example\r\n",
        "\u{b}Host: shop.example\r\n",
    ];
    let mut bytes = all.map(lines).to_vec();
    bytes.extend([" GET /MARK HTTP/1.1", "\tGET /MARK HTTP/1.1", " "].map(line));
    refused(bytes, BAD)
}

pub(in crate::hostile) fn b18() -> Vec<Vector> {
    let all = [
        ": x\r\n",
        ":\r\n",
        ":x: y\r\n",
        " : x\r\n",
        "no colon\r\n",
        "nocolon\r\n",
        "Content-Length\r\n",
        "X\r\n",
        "=\r\n",
    ];
    let mut bytes: Vec<Vec<u8>> = all.iter().map(|text| get(text)).collect();
    bytes.push(lines(": x\r\nHost: shop.example\r\n"));
    bytes.push(lines("nocolon\r\nHost: shop.example\r\n"));
    refused(bytes, BAD)
}

pub(in crate::hostile) fn b19() -> Vec<Vector> {
    let all = [
        "X: a\0b\r\n",
        "X: \0\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: \ra\r\n",
        "X: a\nb\r\n",
        "X: a\nContent-Length: 5\r\n",
        "X: a\rContent-Length: 5\r\n",
        "X: a\r\n\rY: b\r\n",
        "X: a\u{1}\r\n",
        "X: a\u{8}b\r\n",
        "X: a\u{b}b\r\n",
        "X: a\u{1b}[31m\r\n",
        "X: a\u{7f}\r\n",
        "X: a\r\n\r \n",
    ];
    let mut bytes: Vec<Vec<u8>> = all.iter().map(|text| get(text)).collect();
    bytes.push(latin1("GET /MARK HTTP/1.1\rHost: shop.example\r\r"));
    bytes.push(latin1("GET /MARK HTTP/1.1\rHost: shop.example\r\n\r\n"));
    bytes.push(latin1("GET /MARK HTTP/1.1\r\nHost: shop.example\r\r\n\r\n"));
    bytes.push(latin1("GET /MARK HTTP/1.1\r\nHost: shop.example\r\n\r\r\n"));
    refused(bytes, BAD)
}

pub(in crate::hostile) fn b20() -> Vec<Vector> {
    let texts = [
        "GET /MARK HTTP/1.1\nHost: shop.example\n\n",
        "GET /MARK HTTP/1.1\nHost: shop.example\r\n\r\n",
        "GET /MARK HTTP/1.1\r\nHost: shop.example\n\r\n",
        "GET /MARK HTTP/1.1\r\nHost: shop.example\r\n\n",
        "GET /MARK HTTP/1.1\r\nHost: shop.example\n\n",
        "GET /MARK HTTP/1.1\r\nHost: shop.example\nX: y\r\n\r\n",
        "GET /MARK HTTP/1.1\r\nHost: shop.example\n\nGET /evil HTTP/1.1\r\nHost: shop.example\r\n\r\n",
        "POST /MARK HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\n\nhello",
        "\nGET /MARK HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    ];
    refused(texts.map(latin1), BAD)
}

/// One empty line before a request is taken (RFC 9112 §2.2).
pub(in crate::hostile) fn b21() -> Vec<Vector> {
    passed([latin1(&format!("\r\nGET /MARK HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))])
}

/// More than that is no request.
pub(in crate::hostile) fn b21_refused() -> Vec<Vector> {
    let texts = ["\r\r\nGET /MARK", "\r\n\nGET /MARK", "\n\r\nGET /MARK", "\rGET /MARK"];
    refused(texts.map(|text| latin1(&format!("{text} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))), BAD)
}

pub(in crate::hostile) fn b22() -> Vec<Vector> {
    let names = [
        "X\u{e9}",
        "\u{ff}",
        "X\u{80}",
        "X(",
        "X)",
        "X<",
        "X>",
        "X@",
        "X,",
        "X;",
        "X\\",
        "X\"",
        "X/",
        "X[",
        "X]",
        "X?",
        "X=",
        "X{",
        "X}",
        "X\0",
        "X\u{1}",
        "X\u{7f}",
        "X\u{b}",
        "Content-Length\u{a0}",
        "Host\u{ff}",
        "Transfer-Encoding\u{80}",
    ];
    refused(names.iter().map(|name| get(&format!("{name}: y\r\n"))), BAD)
}

/// Whoever turns fields into variables sees no difference between `_` and `-`.
pub(in crate::hostile) fn b23() -> Vec<Vector> {
    let all = [
        "X_Forwarded_For: 6.6.6.6\r\n",
        "X-Forwarded_For: 6.6.6.6\r\n",
        "x_forwarded_proto: https\r\n",
        "Content_Length: 100\r\n",
        "Transfer_Encoding: chunked\r\n",
        "_: y\r\n",
        "X_: y\r\nX_Forwarded_Host: evil.example\r\n",
        "_Host: evil.example\r\nX-Kept: yes\r\n",
    ];
    passed(all.iter().map(|text| get(text)))
}
