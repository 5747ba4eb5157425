//! The signals by which somebody asks a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears from the moment on that it was made. As the first process of a container we would not be ended without.
pub(crate) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    pub(crate) fn listen() -> Self {
        let listen = |kind| signal(kind).expect("the runtime handles signals");
        Self { terminate: listen(SignalKind::terminate()), interrupt: listen(SignalKind::interrupt()) }
    }

    pub(crate) async fn asked(&mut self) {
        tokio::select! { _ = self.terminate.recv() => (), _ = self.interrupt.recv() => () }
    }
}
