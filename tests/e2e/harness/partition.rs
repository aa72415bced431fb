//! A way to the API server that can be cut: then no byte passes in either direction, and no connection breaks.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use devenv::control_plane::ControlPlane;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay on loopback, and the administrator's kubeconfig that leads through it.
pub struct Partition {
    pub kubeconfig: PathBuf,
    open: watch::Sender<bool>,
    relay: JoinHandle<()>,
}

impl Partition {
    pub async fn between(control_plane: &ControlPlane) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?;
        let server = control_plane.config().await?.cluster_url;
        let server = server.authority().context("a server without an address")?.to_string();
        let kubeconfig = redirected(&control_plane.kubeconfig(), &server, &own.to_string())?;
        let open = watch::Sender::new(true);
        let relay = tokio::spawn(accept(listener, server, open.subscribe()));
        Ok(Self { kubeconfig, open, relay })
    }

    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// What was on its way arrives now.
    pub fn heal(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

fn redirected(kubeconfig: &Path, server: &str, to: &str) -> Result<PathBuf> {
    let path = kubeconfig.with_file_name(format!("by-{}.kubeconfig", to.replace(':', "-")));
    std::fs::write(&path, std::fs::read_to_string(kubeconfig)?.replace(server, to))?;
    Ok(path)
}

async fn accept(listener: TcpListener, server: String, open: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(relay(client, server.clone(), open.clone()));
    }
}

async fn relay(client: TcpStream, server: String, open: watch::Receiver<bool>) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        ended = pass(from_client, to_server, open.clone()) => ended,
        ended = pass(from_server, to_client, open) => ended,
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut open: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        // None only when the test is over.
        let _ = open.wait_for(|open| *open).await;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}
