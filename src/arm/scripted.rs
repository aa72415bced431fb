//! A server for tests that answers by a script, byte for byte, and a credential that counts.
use super::{Arm, Settings};
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::{Duration, OffsetDateTime};
use lanyard_domain::TargetId;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const VM: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web";

pub fn vm() -> TargetId {
    VM.parse().expect("a VM's id")
}

/// What is sent for one request, before the connection is closed.
#[derive(Clone)]
pub enum Reply {
    Bytes(Vec<u8>),
    /// Filler without an end, for as long as somebody reads it.
    Endless,
    /// Nothing, and the connection stays open.
    Silence,
}

pub fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    Reply::Bytes(format!("{head}\r\n{body}").into_bytes())
}

pub fn error(status: u16, code: &str) -> Reply {
    reply(status, &[], &format!(r#"{{"error":{{"code":"{code}","message":"said so"}}}}"#))
}

#[derive(Clone)]
pub struct Server {
    pub origin: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers one request after the other, and those beyond the script with 500.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("bound"));
        let server = Self { origin, requests: Arc::default() };
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let requests = server.requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), requests.clone()));
            }
        });
        server
    }

    /// Head and body of each request, as they came.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    pub fn arm(&self) -> (Arm, Arc<Counting>) {
        let credential = Arc::new(Counting::default());
        let settings = Settings::new(&self.origin, None).expect("loopback");
        (Arm::new(settings, credential.clone(), ()).expect("a client"), credential)
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<VecDeque<Reply>>>, requests: Arc<Mutex<Vec<String>>>) {
    let request = read(&mut stream).await;
    if request.is_empty() {
        return;
    }
    requests.lock().expect("no panic").push(request);
    let reply = script.lock().expect("no panic").pop_front().unwrap_or_else(|| error(500, "EndOfScript"));
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
        Reply::Silence => {
            let _ = stream.read(&mut [0]).await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
    }
    text
}

/// Hands out `secret-1`, `secret-2` and so on.
#[derive(Debug, Default)]
pub struct Counting {
    pub fetched: AtomicUsize,
    /// Fails, with this as AADSTS code.
    pub fails: Mutex<Option<&'static str>>,
    pub lives: Mutex<Option<Duration>>,
}

impl Counting {
    pub fn count(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl TokenCredential for Counting {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let nth = self.fetched.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        if let Some(code) = *self.fails.lock().expect("no panic") {
            let message = format!("AADSTS{code}: said so");
            return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, message));
        }
        let lives = self.lives.lock().expect("no panic").unwrap_or(Duration::hours(1));
        Ok(AccessToken::new(format!("secret-{nth}"), OffsetDateTime::now_utc() + lives))
    }
}
