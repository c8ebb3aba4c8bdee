//! The states of a delivery worker, and the transitions after a read of the outbox.

/// The state of a delivery worker; [`crate::delivery`] describes the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Delivers from the queue in memory.
    Live,
    /// Delivers from the outbox, and empties the queue meanwhile: unpersisted events go to the outbox.
    CatchingUp,
    /// Delivers the rest of the outbox. The queue fills meanwhile.
    Draining,
}

/// The size of a read of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// The outbox was empty.
    Empty,
    /// The read found less than its limit: the end of the outbox is near.
    Partial,
    /// The read reached its limit.
    Full,
}

impl State {
    /// The state after `read` was delivered. `resync` says whether another read was requested meanwhile.
    pub(crate) fn after(self, read: Read, resync: bool) -> Self {
        match (self, read, resync) {
            (_, Read::Empty, false) => Self::Live,
            // The queue may have overflowed. `CatchingUp` empties it.
            (Self::Draining, _, true) => Self::CatchingUp,
            (Self::Draining, _, false) => Self::Draining,
            (_, Read::Full, _) => Self::CatchingUp,
            (_, Read::Partial | Read::Empty, _) => Self::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Read::{Empty, Full, Partial};
    use super::State::{CatchingUp, Draining, Live};

    #[test]
    fn each_read_leads_to_the_state_that_the_protocol_names() {
        for (state, read, resync, next) in [
            (CatchingUp, Full, false, CatchingUp),
            (CatchingUp, Full, true, CatchingUp),
            (CatchingUp, Partial, false, Draining),
            (CatchingUp, Partial, true, Draining),
            (CatchingUp, Empty, false, Live),
            (CatchingUp, Empty, true, Draining),
            (Draining, Full, false, Draining),
            (Draining, Partial, false, Draining),
            (Draining, Full, true, CatchingUp),
            (Draining, Partial, true, CatchingUp),
            (Draining, Empty, true, CatchingUp),
            (Draining, Empty, false, Live),
        ] {
            assert_eq!(state.after(read, resync), next, "{state:?} after {read:?}, resync {resync}");
        }
    }
}
