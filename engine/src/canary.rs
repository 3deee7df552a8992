//! Deliberate faults, to show that the proofs notice them: a check that cannot fail proves nothing.
//!
//! Invariants:
//! - Without the feature `canaries` none of them can be set, and the questions cost nothing.
//! - A canary concerns the thread that set it: in the simulator, one world. One that is set for the process
//!   concerns every thread of an engine with threads of its own.

/// A fault that the engine can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Writes that must be flushed are not.
    SkipFlush,
    /// Receipts are given before anything is written.
    AcknowledgeEarly,
    /// The checksum of a frame's body is not looked at.
    SkipChecksum,
    /// A new generation writes into the segment that recovery has just read.
    WriteIntoRecovered,
    /// Frames are taken for valid whatever use of the file and whatever place they are from: their stamp, which is
    /// salt and position in one, is not looked at.
    ForgetSalt,
    /// A segment is used before the manifest names it.
    ForgetManifestEntry,
    /// A segment is used before its entry in the directory is durable.
    ForgetDirectoryEntry,
    /// A record that is withheld is shown at once.
    PublishWithheld,
    /// A write or flush that failed counts as done.
    IgnoreFailure,
    /// Segments go although they hold records that are kept.
    RetireTooEarly,
    /// A segment begins without a checkpoint.
    ForgetCheckpoint,
    /// Records are given up, and the log does not say so.
    ForgetTruncation,
    /// Who reads from outside is shown what stands in the files, whether it is known to be durable or not.
    ShowUndurable,
    /// With another number of lanes, what the old logs withhold is forgotten.
    ForgetWithheld,
    /// The manifest switches to another number of lanes before the new logs know what the old ones did.
    SwitchEarly,
    /// Records that the cleaner has moved are looked for where they were first written.
    ResolveByAddress,
    /// Opening forgets how far the named producers had come.
    ForgetNumbers,
    /// Opening forgets the receipts of records that may be sent again.
    ForgetOriginals,
    /// Opening forgets how far groups had come.
    ForgetProgress,
    /// A member's flush answers before what it acknowledged is durable.
    ConfirmEarly,
    /// A record whose lease ran out is handed out again, and its member keeps it.
    TwoLeases,
    /// An acknowledgement goes into the log without its tokens.
    ForgetTokens,
    /// Records of a transaction are shown as soon as they stand in the log.
    PublishHalf,
    /// What a transaction acknowledges is finished when it is prepared.
    FinishEarly,
    /// Opening knows of no decision that was made in another log.
    ForgetDecision,
    /// Opening gives up transactions that were prepared.
    ForgetPrepared,
    /// A transaction that was decided is decided otherwise.
    DecideAgain,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 27] = [
        Canary::SkipFlush,
        Canary::AcknowledgeEarly,
        Canary::SkipChecksum,
        Canary::WriteIntoRecovered,
        Canary::ForgetSalt,
        Canary::ForgetManifestEntry,
        Canary::ForgetDirectoryEntry,
        Canary::PublishWithheld,
        Canary::IgnoreFailure,
        Canary::RetireTooEarly,
        Canary::ForgetCheckpoint,
        Canary::ForgetTruncation,
        Canary::ShowUndurable,
        Canary::ForgetWithheld,
        Canary::SwitchEarly,
        Canary::ResolveByAddress,
        Canary::ForgetNumbers,
        Canary::ForgetOriginals,
        Canary::ForgetProgress,
        Canary::ConfirmEarly,
        Canary::TwoLeases,
        Canary::ForgetTokens,
        Canary::PublishHalf,
        Canary::FinishEarly,
        Canary::ForgetDecision,
        Canary::ForgetPrepared,
        Canary::DecideAgain,
    ];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Canary::SkipFlush => "skip-flush",
            Canary::AcknowledgeEarly => "acknowledge-early",
            Canary::SkipChecksum => "skip-checksum",
            Canary::WriteIntoRecovered => "write-into-recovered",
            Canary::ForgetSalt => "forget-salt",
            Canary::ForgetManifestEntry => "forget-manifest-entry",
            Canary::ForgetDirectoryEntry => "forget-directory-entry",
            Canary::PublishWithheld => "publish-withheld",
            Canary::IgnoreFailure => "ignore-failure",
            Canary::RetireTooEarly => "retire-too-early",
            Canary::ForgetCheckpoint => "forget-checkpoint",
            Canary::ForgetTruncation => "forget-truncation",
            Canary::ShowUndurable => "show-undurable",
            Canary::ForgetWithheld => "forget-withheld",
            Canary::SwitchEarly => "switch-early",
            Canary::ResolveByAddress => "resolve-by-address",
            Canary::ForgetNumbers => "forget-numbers",
            Canary::ForgetOriginals => "forget-originals",
            Canary::ForgetProgress => "forget-progress",
            Canary::ConfirmEarly => "confirm-early",
            Canary::TwoLeases => "two-leases",
            Canary::ForgetTokens => "forget-tokens",
            Canary::PublishHalf => "publish-half",
            Canary::FinishEarly => "finish-early",
            Canary::ForgetDecision => "forget-decision",
            Canary::ForgetPrepared => "forget-prepared",
            Canary::DecideAgain => "decide-again",
        }
    }
}

#[cfg(feature = "canaries")]
thread_local! {
    static SET: std::cell::Cell<Option<Canary>> = const { std::cell::Cell::new(None) };
}

/// The number of a canary in [`Canary::ALL`], plus one; 0 is none.
#[cfg(feature = "canaries")]
static SET_FOR_THE_PROCESS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Gives all threads a canary, or takes it away.
#[cfg(feature = "canaries")]
pub fn set_for_the_process(canary: Option<Canary>) {
    let number = canary.map_or(0, |canary| canary as usize + 1);
    SET_FOR_THE_PROCESS.store(number, std::sync::atomic::Ordering::Relaxed);
}

/// Gives this thread a canary, or takes it away.
#[cfg(feature = "canaries")]
pub fn set(canary: Option<Canary>) {
    SET.set(canary);
}

/// Whether the engine is to make this mistake.
#[inline]
pub(crate) fn sings(canary: Canary) -> bool {
    #[cfg(feature = "canaries")]
    {
        SET.get() == Some(canary)
            || SET_FOR_THE_PROCESS.load(std::sync::atomic::Ordering::Relaxed) == canary as usize + 1
    }
    #[cfg(not(feature = "canaries"))]
    {
        let _ = canary;
        false
    }
}
