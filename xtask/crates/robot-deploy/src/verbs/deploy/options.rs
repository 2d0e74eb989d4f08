//! What deploys, whatever they deploy, are told about activation.

use crate::release::lock::OnLocked;

/// Whether and how what was delivered is started.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct Activate {
    /// Deliver only: leave running what runs
    #[arg(long, conflicts_with = "force")]
    pub no_start: bool,

    /// What is done about robots that are another's, or busy.
    #[command(flatten)]
    pub on_busy: OnBusy,

    /// Leave a release running that is not well, to look at; otherwise the robot goes back to the one before
    #[arg(long, conflicts_with = "no_start")]
    pub no_rollback: bool,
}

/// What is done about robots that are another's, or busy.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct OnBusy {
    /// Wait while somebody else deploys to a robot, and until it may be disturbed
    #[arg(long)]
    wait: bool,

    /// Do it even if a robot says that it is busy
    #[arg(long)]
    pub force: bool,
}

impl From<OnBusy> for Activate {
    /// For verbs that always start something.
    fn from(on_busy: OnBusy) -> Self {
        Self { no_start: false, on_busy, no_rollback: false }
    }
}

impl OnBusy {
    /// Whether others are waited for.
    pub fn on_locked(self) -> OnLocked {
        if self.wait { OnLocked::Wait } else { OnLocked::Refuse }
    }
}
