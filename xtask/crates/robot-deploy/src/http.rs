//! Heads of HTTP requests (RFC 9112) for the two local ends of a push: the relay to a robot's registry and
//! the receiver of an export.
//!
//! A web page in a browser can also reach the loopback interface, through a name that resolves to it (DNS
//! rebinding) or by a cross-origin request. Therefore requests with an unknown `Host`, and those with headers
//! that only browsers send, are refused.

use std::io::{self, BufRead, Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Longest head of a request in bytes.
const HEAD_LIMIT: usize = 64 << 10;

/// Most headers of a request.
const HEADER_LIMIT: usize = 64;

/// First byte of a TLS connection: the type of a handshake record (RFC 8446, section 5.1).
const TLS: u8 = 22;

/// Names of this machine's loopback interface, including the one used by an engine in a virtual machine.
const HOSTS: [&str; 4] = ["localhost", "127.0.0.1", "[::1]", "host.docker.internal"];

/// Headers that browsers add, but registry clients do not.
const OF_BROWSERS: [&str; 2] = ["origin", "sec-fetch-site"];

/// Longest wait for a refused client to stop sending.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes that are read from a refused client.
const DRAIN_LIMIT: u64 = 1 << 20;

/// Length of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
}

/// Request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values in their original order.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Body,
}

/// Status of the response to a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub &'static str);

const BAD: Refusal = Refusal("400 Bad Request");
const FORBIDDEN: Refusal = Refusal("403 Forbidden");
const TOO_LARGE: Refusal = Refusal("431 Request Header Fields Too Large");

impl Head {
    /// Reads the next head from a connection to local port `port`; `None` at the end of the connection.
    ///
    /// The outer error is one of the connection, the inner one a request to refuse.
    pub(crate) fn read(requests: &mut impl BufRead, port: u16) -> io::Result<Option<Result<Self, Refusal>>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let left = HEAD_LIMIT - head.len();
            if left == 0 {
                return Ok(Some(Err(TOO_LARGE)));
            }
            match requests.take(left as u64).read_until(b'\n', &mut head)? {
                0 if head.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
        Ok(Some(Self::parse(&head, port)))
    }

    fn parse(text: &[u8], port: u16) -> Result<Self, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADER_LIMIT];
        let mut parsed = httparse::Request::new(&mut headers);
        let end = parsed.parse(text).map_err(|error| match error {
            httparse::Error::TooManyHeaders => TOO_LARGE,
            _ => BAD,
        })?;
        let target = parsed.path.filter(|target| target.starts_with('/')).ok_or(BAD)?;
        // A head that another parser would split into two requests enables request smuggling.
        if end != httparse::Status::Complete(text.len()) || parsed.version != Some(1) {
            return Err(BAD);
        }
        let headers: Vec<(String, Vec<u8>)> =
            parsed.headers.iter().map(|header| (header.name.to_owned(), header.value.to_owned())).collect();
        let method = parsed.method.unwrap_or_default().to_owned();
        let mut head = Self { method, target: target.to_owned(), headers, body: Body::Length(0) };
        if !head.is_for_us(port) {
            return Err(FORBIDDEN);
        }
        head.body = head.framing().ok_or(BAD)?;
        Ok(head)
    }

    /// Values of a header.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }

    /// Returns whether the client sends the body only after `100 Continue`.
    pub(crate) fn waits(&self) -> bool {
        self.all("expect").next().is_some()
    }

    fn is_for_us(&self, port: u16) -> bool {
        let is_ours = |host: &[u8]| {
            let host = String::from_utf8_lossy(host).to_ascii_lowercase();
            let name = host.strip_suffix(&format!(":{port}")).unwrap_or(&host);
            HOSTS.contains(&name)
        };
        let hosts: Vec<&[u8]> = self.all("host").collect();
        let is_of_browser = OF_BROWSERS.iter().any(|name| self.all(name).next().is_some());
        matches!(hosts[..], [host] if is_ours(host)) && !is_of_browser
    }

    /// Framing of the body; `None` if it is ambiguous, or if the request switches to another protocol.
    fn framing(&self) -> Option<Body> {
        if self.all("upgrade").next().is_some() {
            return None;
        }
        let lengths: Vec<&[u8]> = self.all("content-length").collect();
        let codings: Vec<&[u8]> = self.all("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => Some(Body::Length(0)),
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(length).ok()?.parse().ok().map(Body::Length)
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Some(Body::Chunked),
            _ => None,
        }
    }

    /// Writes the head with header `name` set to `value`, in place of any such headers of the client.
    pub(crate) fn write_with(&self, to: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
        write!(to, "{} {} HTTP/1.1\r\n{name}: {value}\r\n", self.method, self.target)?;
        for (other, value) in self.headers.iter().filter(|(other, _)| !other.eq_ignore_ascii_case(name)) {
            write!(to, "{other}: ")?;
            to.write_all(value)?;
            to.write_all(b"\r\n")?;
        }
        to.write_all(b"\r\n")
    }
}

/// Returns whether a client begins with TLS, as Docker does with every registry.
pub(crate) fn is_tls(client: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(client.peek(&mut first)? == 1 && first[0] == TLS)
}

/// Docker tries TLS first; a plain-HTTP reply makes it fall back.
pub(crate) fn answer_tls(client: &TcpStream) {
    hang_up(client, "HTTP/1.0 400 Bad Request\r\n\r\n");
}

/// Refuses a request and everything that follows it on the connection.
pub(crate) fn refuse(client: &TcpStream, Refusal(status): Refusal) {
    hang_up(client, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
}

/// Sends a last response and closes the connection. Unread input is drained first: closing with unread data
/// resets the connection, and the client would lose the response.
fn hang_up(mut client: &TcpStream, answer: &str) {
    let timeout = client.set_read_timeout(Some(DRAIN_TIMEOUT));
    let sent = client.write_all(answer.as_bytes()).and_then(|()| client.shutdown(Shutdown::Write));
    if timeout.and(sent).is_ok() {
        drop(io::copy(&mut client.take(DRAIN_LIMIT), &mut io::sink()));
    }
    drop(client.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::fuzz;

    #[test]
    fn fuzzed_requests_are_parsed_or_refused() {
        let put = "PUT /v2/a/b/blobs/uploads/upload?digest=sha256%3Aaa&x=1 HTTP/1.1\r\nHost: localhost\r\n\
                   Content-Length: 4\r\n\r\ntext";
        let patch = "PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nExpect: 100-continue\r\n\
                     Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
        fuzz("request", 1_000, &[put.as_bytes(), patch.as_bytes()], |bytes| {
            let mut requests = bytes;
            while let Ok(Some(Ok(head))) = Head::read(&mut requests, 5000) {
                assert!(head.is_for_us(5000));
                if let Body::Length(length) = head.body {
                    drop(io::copy(&mut (&mut requests).take(length), &mut io::sink()));
                }
            }
        });
    }

    fn read(text: &str) -> Result<Head, Refusal> {
        Head::read(&mut text.as_bytes(), 5000).unwrap().unwrap()
    }

    fn with(headers: &str) -> Result<Head, Refusal> {
        read(&format!("PUT /v2/ HTTP/1.1\r\n{headers}\r\n"))
    }

    #[test]
    fn this_machine_has_few_names() {
        for host in
            ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "LocalHost", "host.docker.internal:5000"]
        {
            assert!(with(&format!("Host: {host}\r\n")).is_ok(), "{host}");
        }
        for host in ["evil.example", "evil.example:5000", "localhost:5001", "localhost.evil.example:5000", ""]
        {
            assert_eq!(with(&format!("Host: {host}\r\n")), Err(FORBIDDEN), "{host}");
        }
        assert_eq!(with(""), Err(FORBIDDEN), "no host");
        assert_eq!(with("Host: localhost\r\nHost: evil.example\r\n"), Err(FORBIDDEN), "two hosts");
    }

    #[test]
    fn requests_of_browsers_are_refused() {
        for header in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
            assert_eq!(with(&format!("Host: localhost:5000\r\n{header}\r\n")), Err(FORBIDDEN), "{header}");
        }
    }

    #[test]
    fn bodies_have_one_length() {
        let body = |headers: &str| with(&format!("Host: localhost\r\n{headers}")).map(|head| head.body);
        assert_eq!(body(""), Ok(Body::Length(0)));
        assert_eq!(body("Content-Length: 12\r\n"), Ok(Body::Length(12)));
        assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(Body::Chunked));
        for headers in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        ] {
            assert_eq!(body(headers), Err(BAD), "{headers}");
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        let host = "Host: localhost\r\n\r\n";
        for text in [
            format!("GET http://localhost/v2/ HTTP/1.1\r\n{host}"),
            format!("CONNECT localhost:22 HTTP/1.1\r\n{host}"),
            format!("GET /v2/ HTTP/1.0\r\n{host}"),
            "PRI * HTTP/2.0\r\n\r\n".to_owned(),
            format!("GET /v2/ HTTP/1.1\r\nHost: localhost\n\nDELETE /v2/ HTTP/1.1\r\n{host}"),
            format!("GET /v2/ HTTP/1.1\r\nHost : localhost\r\n{host}"),
        ] {
            assert_eq!(read(&text), Err(BAD), "{text}");
        }
        let endless = format!("GET /v2/ HTTP/1.1\r\nX: {}", "x".repeat(100_000));
        assert_eq!(read(&endless), Err(TOO_LARGE));
        assert!(Head::read(&mut "GET / HTTP/1.1\r\n".as_bytes(), 5000).is_err(), "truncated");
        assert_eq!(Head::read(&mut "".as_bytes(), 5000).unwrap(), None);
    }

    #[test]
    fn only_one_header_is_replaced() -> io::Result<()> {
        let head = with("Host: localhost\r\nauthorization: Basic x\r\nX-Y: z\r\nAuthorization: Bearer y\r\n")
            .unwrap();
        let mut text = Vec::new();
        head.write_with(&mut text, "Authorization", "Basic ours")?;
        assert_eq!(
            String::from_utf8_lossy(&text),
            "PUT /v2/ HTTP/1.1\r\nAuthorization: Basic ours\r\nHost: localhost\r\nX-Y: z\r\n\r\n"
        );
        Ok(())
    }
}
