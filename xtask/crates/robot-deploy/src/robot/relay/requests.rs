//! Forwards allowed requests from a client to the robot's registry, each with the login added.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use crate::http::{Body, Head, Refusal};

/// Size of the read and write buffers in bytes.
const BUFFER: usize = 64 << 10;

/// Longest line with a chunk's size, and longest trailer line after the last chunk, in bytes.
const LINE: u64 = 4 << 10;

/// Forwards requests until the client closes the connection, or until a request is refused; then returns the
/// refusal.
pub(super) fn forward(
    client: impl Read,
    registry: impl Write,
    port: u16,
    login: &str,
) -> io::Result<Option<Refusal>> {
    let mut forwarder = Forwarder {
        client: BufReader::with_capacity(BUFFER, client),
        registry: BufWriter::with_capacity(BUFFER, registry),
    };
    while let Some(read) = Head::read(&mut forwarder.client, port)? {
        let head = match read {
            Ok(head) if head.method == "DELETE" => return Ok(Some(Refusal("405 Method Not Allowed"))),
            Ok(head) => head,
            Err(refusal) => return Ok(Some(refusal)),
        };
        head.write_with(&mut forwarder.registry, "Authorization", login)?;
        match head.body {
            Body::Length(length) => forwarder.bytes(length)?,
            Body::Chunked => forwarder.chunks()?,
        }
        forwarder.registry.flush()?;
    }
    Ok(None)
}

struct Forwarder<R: Read, W: Write> {
    client: BufReader<R>,
    registry: BufWriter<W>,
}

impl<R: Read, W: Write> Forwarder<R, W> {
    /// Fills the client's buffer. Flushes to the registry before waiting: the client may wait for a response
    /// to what it has sent so far.
    fn fill_buffer(&mut self) -> io::Result<&[u8]> {
        if self.client.buffer().is_empty() {
            self.registry.flush()?;
        }
        self.client.fill_buf()
    }

    fn bytes(&mut self, mut left: u64) -> io::Result<()> {
        while left > 0 {
            self.fill_buffer()?;
            let available = self.client.buffer();
            let count = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.registry.write_all(&available[..count])?;
            self.client.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// Rewrites the chunk headers instead of copying them, so that relay and registry agree on the end of the
    /// body. Trailers are dropped.
    fn chunks(&mut self) -> io::Result<()> {
        loop {
            let size = self.chunk_size()?;
            write!(self.registry, "{size:x}\r\n")?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return self.registry.write_all(b"\r\n");
            }
            self.bytes(size)?;
            if !self.line()?.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.registry.write_all(b"\r\n")?;
        }
    }

    fn chunk_size(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim_end();
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let size = u64::from_str_radix(digits, 16).ok().filter(|_| is_number);
        size.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn line(&mut self) -> io::Result<String> {
        self.fill_buffer()?;
        let mut line = Vec::new();
        (&mut self.client).take(LINE).read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\r\n").and_then(|line| String::from_utf8(line.to_vec()).ok());
        text.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "Host: localhost:5000\r\n";

    /// Returns the bytes that reach the registry when a client sends `text`, and the result.
    fn passed(text: &str) -> (String, io::Result<Option<Refusal>>) {
        let mut out = Vec::new();
        let end = forward(text.as_bytes(), &mut out, 5000, "Basic ours");
        (String::from_utf8(out).unwrap(), end)
    }

    fn is_ok(end: &io::Result<Option<Refusal>>) -> bool {
        matches!(end, Ok(None))
    }

    #[test]
    fn requests_get_the_login_and_bodies_pass_as_they_are() {
        let text = format!(
            "GET /v2/ HTTP/1.1\r\n{HOST}Authorization: Basic theirs\r\n\r\n\
             PUT /v2/x HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello\
             PATCH /v2/y HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\nabc\r\n00a\r\n0123456789\r\n0\r\nTrailer: z\r\n\r\n\
             HEAD /v2/z HTTP/1.1\r\n{HOST}\r\n"
        );
        let (out, end) = passed(&text);
        assert!(is_ok(&end), "{end:?}");
        let ours = "Authorization: Basic ours\r\n";
        assert_eq!(
            out,
            format!(
                "GET /v2/ HTTP/1.1\r\n{ours}{HOST}\r\n\
                 PUT /v2/x HTTP/1.1\r\n{ours}{HOST}Content-Length: 5\r\n\r\nhello\
                 PATCH /v2/y HTTP/1.1\r\n{ours}{HOST}Transfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n\
                 HEAD /v2/z HTTP/1.1\r\n{ours}{HOST}\r\n"
            )
        );
    }

    #[test]
    fn nothing_is_deleted_and_nothing_follows_a_refusal() {
        let after = format!("\r\nGET /v2/ HTTP/1.1\r\n{HOST}\r\n");
        let (out, end) = passed(&format!("DELETE /v2/x/manifests/sha256:0 HTTP/1.1\r\n{HOST}{after}"));
        assert_eq!((out.as_str(), end.unwrap()), ("", Some(Refusal("405 Method Not Allowed"))));
        let (out, end) = passed(&format!("GET /v2/ HTTP/1.1\r\nHost: evil.example\r\n{after}"));
        assert_eq!((out.as_str(), end.unwrap()), ("", Some(Refusal("403 Forbidden"))));
    }

    #[test]
    fn a_body_that_is_not_what_its_head_says_ends_the_connection() {
        for body in ["Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
            assert!(passed(&format!("PUT /v2/x HTTP/1.1\r\n{HOST}{body}")).1.is_err(), "{body}");
        }
        for chunks in ["-1\r\n", "+1\r\n", "\r\n", "x\r\n", "1\r\nab\r\n", "1\nab", "11111111111111111\r\n"] {
            let text = format!("PUT /v2/x HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}");
            assert!(passed(&text).1.is_err(), "{chunks}");
        }
    }
}
