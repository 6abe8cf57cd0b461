//! The answers of a server that is broken, or means harm.

use std::time::Duration;

use async_trait::async_trait;
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::server::{Answers, Request};

const GIBIBYTE: u64 = 1 << 30;
/// A dense or deep document: below the limit of any sensible client, so that it is the parser who has to refuse it.
const BELOW_LIMITS: usize = 8 << 20;
/// Between two bytes of a server that dribbles: below any idle limit of a client.
const DRIBBLE: Duration = Duration::from_millis(900);

/// One evil, the answer to every request whatever it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Evil {
    /// `Content-Length: 1073741824`, and sends them all.
    Gibibyte,
    /// Chunks of valid rows of JSON, for ever: a queue of 10⁹ jobs is the beginning of it.
    EndlessRows,
    /// A few kilobytes of gzip for each mebibyte of blanks, for ever.
    GzipBomb,
    /// A valid document of some megabytes that is nothing but empty lists, each of which costs a parser far more.
    Dense,
    /// As many opening brackets.
    Deep,
    /// A status line, and then a header that grows by one byte at a time.
    SlowHead,
    /// A body that grows by one byte at a time.
    SlowBody,
    /// Reads the request and never answers.
    Silent,
    /// A redirect to itself.
    RedirectToItself,
    /// A redirect to a path that was not there before.
    RedirectOnward,
    /// A redirect to this other server.
    RedirectTo(String),
    /// Headers without end.
    EndlessHead,
    /// The connection is closed instead of an answer.
    HangUp,
    /// Another protocol.
    NotHttp,
    /// 200 with a page for people.
    LoginPage,
    /// A refusal with this status whose body has no end.
    EndlessRefusal(u16),
    /// 200 with this JSON.
    Json(&'static str),
}

#[async_trait]
impl Answers for Evil {
    async fn answer(&self, request: Request, to: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Evil::Gibibyte => {
                head(to, 200, &format!("content-length: {GIBIBYTE}")).await?;
                endless(to, &[b' '; 1 << 16]).await
            }
            Evil::EndlessRows => {
                head(to, 200, "transfer-encoding: chunked").await?;
                let row = r#"{"id":1,"name":"build","status":"pending","tags":["linux"]},"#;
                chunk(to, b"[").await?;
                let rows = chunked(row.repeat(1000).as_bytes());
                endless(to, &rows).await
            }
            Evil::GzipBomb => {
                head(to, 200, "content-encoding: gzip").await?;
                let (header, mebibyte) = bomb();
                to.write_all(&header).await?;
                endless(to, &mebibyte).await
            }
            Evil::Dense => repeated(to, b"[", b"[],", b"[]]").await,
            Evil::Deep => repeated(to, b"[", b"[", b"[").await,
            Evil::SlowHead => {
                to.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
                dribble(to).await
            }
            Evil::SlowBody => {
                head(to, 200, &format!("content-length: {GIBIBYTE}")).await?;
                dribble(to).await
            }
            Evil::Silent => std::future::pending().await,
            Evil::RedirectToItself => {
                let path = request.head.split(' ').nth(1).unwrap_or("/");
                redirect(to, path).await
            }
            Evil::RedirectOnward => {
                let path = request.head.split(' ').nth(1).unwrap_or("/");
                let path = path.split('?').next().unwrap_or("/");
                redirect(to, &format!("{path}/on")).await
            }
            Evil::RedirectTo(other) => redirect(to, &format!("{other}/api")).await,
            Evil::EndlessHead => {
                to.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                endless(to, b"x-more: and more and more and more and more\r\n").await
            }
            Evil::HangUp => Ok(()),
            Evil::NotHttp => to.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await,
            Evil::LoginPage => {
                let page = "<html><title>Sign in</title><form action=/login></form></html>";
                let headers = format!("content-type: text/html\r\ncontent-length: {}", page.len());
                head(to, 200, &headers).await?;
                to.write_all(page.as_bytes()).await
            }
            Evil::EndlessRefusal(status) => {
                head(to, *status, "transfer-encoding: chunked").await?;
                endless(to, &chunked(&[b'x'; 1 << 16])).await
            }
            Evil::Json(body) => document(to, body).await,
        }
    }
}

async fn head(to: &mut TcpStream, status: u16, headers: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} Evil\r\nconnection: close\r\n{headers}\r\n\r\n");
    to.write_all(head.as_bytes()).await
}

async fn document(to: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let headers = format!(
        "content-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    head(to, 200, &headers).await?;
    to.write_all(body.as_bytes()).await
}

/// A document just below the limits that is the same thing again and again.
async fn repeated(
    to: &mut TcpStream,
    first: &[u8],
    middle: &[u8],
    last: &[u8],
) -> std::io::Result<()> {
    let block = middle.repeat(1 << 12);
    let blocks = BELOW_LIMITS / block.len();
    let length = first.len() + block.len() * blocks + last.len();
    head(to, 200, &format!("content-length: {length}")).await?;
    to.write_all(first).await?;
    for _ in 0..blocks {
        to.write_all(&block).await?;
    }
    to.write_all(last).await
}

async fn redirect(to: &mut TcpStream, location: &str) -> std::io::Result<()> {
    head(
        to,
        302,
        &format!("location: {location}\r\ncontent-length: 0"),
    )
    .await
}

async fn endless(to: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        to.write_all(bytes).await?;
    }
}

async fn dribble(to: &mut TcpStream) -> std::io::Result<()> {
    loop {
        to.write_all(b" ").await?;
        tokio::time::sleep(DRIBBLE).await;
    }
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

async fn chunk(to: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(&chunked(bytes)).await
}

/// The header of a gzip stream, and one mebibyte of blanks in it, which stands on its own and may be repeated at will.
fn bomb() -> (Vec<u8>, Vec<u8>) {
    let header = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut mebibyte = Vec::with_capacity(1 << 14);
    let done = Compress::new(Compression::best(), false).compress_vec(
        &vec![b' '; 1 << 20],
        &mut mebibyte,
        // forgets what went before, so that the same bytes may follow themselves
        FlushCompress::Full,
    );
    assert!(done.is_ok() && mebibyte.len() < 1 << 13, "{done:?}");
    (header, mebibyte)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Without it the case of the gzip bomb may pass because the bomb is a dud.
    #[test]
    fn the_bomb_grows_by_a_mebibyte_each_time() {
        let (mut stream, mebibyte) = bomb();
        for _ in 0..3 {
            stream.extend_from_slice(&mebibyte);
        }
        let mut grown = vec![0; 3 << 20];
        let mut decoder = flate2::read::GzDecoder::new(&*stream);
        decoder.read_exact(&mut grown).unwrap();
        assert!(grown.iter().all(|byte| *byte == b' '));
    }
}
