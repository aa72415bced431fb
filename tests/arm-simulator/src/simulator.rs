//! Starts the doors, holds the state, stops everything when dropped.
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::imds::IDENTITY_HEADER;
use crate::settings::Settings;
use crate::state::World;
use crate::wire::server::{Handler, serve};
use crate::wire::{Answer, Call, Listener, Reply, arm};
use crate::{admin, tls};

/// What every door and every handle shares.
#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    pub endpoints: Endpoints,
}

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        // A test that failed while it held the lock must not fail the others.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where everything listens, and what opens it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    pub arm: String,
    pub arm_http: String,
    pub authority: String,
    pub imds: String,
    pub admin: String,
    /// A host that is not ARM, by HTTP and by HTTPS.
    pub stranger: String,
    pub stranger_https: String,
    pub ca_pem: PathBuf,
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: String,
    pub identity_header: String,
}

/// A running simulator, on threads of its own: any runtime, or none, may start and share it.
#[derive(Debug)]
pub struct ArmSimulator {
    pub(crate) shared: Arc<Shared>,
    ca_pem: String,
    runtime: Option<Runtime>,
    /// A folder that goes with it.
    own_dir: Option<PathBuf>,
}

impl ArmSimulator {
    /// Binds, writes the CA and `endpoints.json`, and serves.
    ///
    /// # Errors
    /// An address is taken, or the folder cannot be written.
    pub fn start(mut settings: Settings) -> anyhow::Result<Self> {
        let tls = tls::authority()?;
        let doors = Doors::bind(&settings)?;
        let (dir, own_dir) = folder(&settings)?;
        let ca_path = dir.join("ca.pem");
        std::fs::write(&ca_path, &tls.ca_pem).with_context(|| format!("writing {}", ca_path.display()))?;
        let endpoints = doors.endpoints(&settings, ca_path)?;
        let text = serde_json::to_string_pretty(&endpoints)?;
        std::fs::write(dir.join("endpoints.json"), text).context("writing endpoints.json")?;
        settings.audiences.extend([endpoints.arm.clone(), endpoints.arm_http.clone()]);
        if let Some(stack) = &mut settings.stack {
            let path = if stack.adfs { "/adfs" } else { "/" };
            stack.login_endpoint.get_or_insert_with(|| format!("{}{path}", endpoints.authority));
            settings.audiences.push(stack.audience.clone());
        }

        let shared = Arc::new(Shared { world: Mutex::new(World::new(settings)), endpoints });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("arm-simulator")
            .enable_all()
            .build()
            .context("starting the simulator's threads")?;
        doors.open(&runtime, &shared, &tls.acceptor)?;
        Ok(Self { shared, ca_pem: tls.ca_pem, runtime: Some(runtime), own_dir })
    }

    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.shared.endpoints
    }

    #[must_use]
    pub fn arm_url(&self) -> &str {
        &self.endpoints().arm
    }

    #[must_use]
    pub fn arm_http_url(&self) -> &str {
        &self.endpoints().arm_http
    }

    #[must_use]
    pub fn authority_url(&self) -> &str {
        &self.endpoints().authority
    }

    #[must_use]
    pub fn imds_url(&self) -> &str {
        &self.endpoints().imds
    }

    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.endpoints().admin
    }

    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    #[must_use]
    pub fn ca_pem_path(&self) -> &Path {
        &self.endpoints().ca_pem
    }

    #[must_use]
    pub fn tenant_id(&self) -> &str {
        &self.endpoints().tenant_id
    }

    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.endpoints().client_id
    }

    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.endpoints().client_secret
    }
}

impl Drop for ArmSimulator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::ZERO);
        }
        if let Some(dir) = &self.own_dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn folder(settings: &Settings) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    let own = settings.dir.is_none().then(|| {
        let name = format!("arm-simulator-{}", Uuid::new_v4());
        std::env::temp_dir().join(name)
    });
    let dir = settings.dir.clone().or_else(|| own.clone()).unwrap_or_default();
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok((dir, own))
}

/// The sockets, bound and not yet served.
struct Doors {
    arm: TcpListener,
    arm_http: TcpListener,
    entra: TcpListener,
    imds: TcpListener,
    admin: TcpListener,
    stranger: TcpListener,
    stranger_https: TcpListener,
}

impl Doors {
    fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let listen = &settings.listen;
        Ok(Self {
            arm: bound(listen.arm)?,
            arm_http: bound(listen.arm_http)?,
            entra: bound(listen.entra)?,
            imds: bound(listen.imds)?,
            admin: bound(listen.admin)?,
            stranger: bound(listen.stranger)?,
            stranger_https: bound(SocketAddr::from(([127, 0, 0, 1], 0)))?,
        })
    }

    fn endpoints(&self, settings: &Settings, ca_pem: PathBuf) -> anyhow::Result<Endpoints> {
        let client = settings.clients.first().cloned().unwrap_or_default();
        let url = |scheme: &str, listener: &TcpListener| -> anyhow::Result<String> {
            Ok(format!("{scheme}://{}", listener.local_addr()?))
        };
        Ok(Endpoints {
            arm: url("https", &self.arm)?,
            arm_http: url("http", &self.arm_http)?,
            authority: url("https", &self.entra)?,
            imds: url("http", &self.imds)?,
            admin: url("http", &self.admin)?,
            stranger: url("http", &self.stranger)?,
            stranger_https: url("https", &self.stranger_https)?,
            ca_pem,
            tenant_id: client.tenant_id,
            client_id: client.client_id,
            client_secret: client.secret.unwrap_or_default(),
            identity_header: IDENTITY_HEADER.to_owned(),
        })
    }

    fn open(self, runtime: &Runtime, shared: &Arc<Shared>, tls: &TlsAcceptor) -> anyhow::Result<()> {
        let _inside = runtime.enter();
        let doors = [
            (Listener::Arm, self.arm, true),
            (Listener::ArmHttp, self.arm_http, false),
            (Listener::Entra, self.entra, true),
            (Listener::Imds, self.imds, false),
            (Listener::Admin, self.admin, false),
            (Listener::Stranger, self.stranger, false),
            (Listener::Stranger, self.stranger_https, true),
        ];
        for (door, listener, secured) in doors {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let tls = secured.then(|| tls.clone());
            runtime.spawn(serve(door, listener, tls, handler(door, shared.clone())));
        }
        Ok(())
    }
}

fn bound(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn handler(door: Listener, shared: Arc<Shared>) -> Handler {
    Arc::new(move |call: Call| {
        let shared = shared.clone();
        Box::pin(async move {
            match door {
                Listener::Arm | Listener::ArmHttp => {
                    arm::handle(shared, call, |shared, call, seq, ways| shared.world().answer(call, seq, ways)).await
                }
                Listener::Entra => arm::handle(shared, call, |shared, call, _, _| shared.world().entra(call)).await,
                Listener::Imds => arm::handle(shared, call, |shared, call, _, _| shared.world().imds(call)).await,
                Listener::Stranger => arm::handle(shared, call, |_, call, _, _| strange(call)).await,
                Listener::Admin => Reply::Answer(admin::answer(&shared, &call)),
            }
        })
    })
}

/// Says yes to everything, as a trap would.
fn strange(call: &Call) -> Answer {
    if call.method == Method::GET {
        Answer::json(200, &json!({"value": [], "status": "Succeeded"}))
    } else {
        Answer::json(200, &json!({}))
    }
}
