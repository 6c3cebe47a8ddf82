//! The open connections, and which of them are idle. Where a limit is reached, a new connection takes the place of the
//! one that has been idle for longest: a client that opens many connections and sends nothing locks out no other.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// The connections of a service.
#[derive(Debug)]
pub(super) struct Connections {
    in_all: usize,
    per_peer: usize,
    bodies: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    peer: IpAddr,
    phase: Phase,
    close: CancellationToken,
}

/// The state of a connection, with since when the service waits for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request has arrived whole, or every response is sent.
    Idle(Instant),
    /// The header of a request has arrived, and its body has not.
    ReceivingBody(Instant),
    /// The service works on a request.
    Working,
    /// The client takes its response. It may be slow, and has its own limits: it counts as work.
    Sending,
}

impl Phase {
    fn idle_since(self) -> Option<Instant> {
        match self {
            Self::Idle(since) | Self::ReceivingBody(since) => Some(since),
            Self::Working | Self::Sending => None,
        }
    }
}

/// The place of a connection among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    close: CancellationToken,
}

/// Whether the service works for a connection, or waits for its client. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Place>);

/// The time in which the service works on a request.
pub(super) struct Working<'a>(&'a Place);

/// The time within a request in which the service receives its body.
pub(super) struct Receiving<'a>(&'a Place);

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            in_all: limits.connections.get(),
            per_peer: limits.connections_per_peer.get(),
            bodies: limits.bodies.get(),
            state: Mutex::default(),
        }
    }

    /// Returns a place for a new connection; none when every place that it could take is that of a connection for
    /// which the service works.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer_key(peer);
        let mut state = self.state();
        let of_peer = state.open.values().filter(|entry| entry.peer == peer).count();
        if of_peer >= self.per_peer {
            state.close_longest_idle(|entry| entry.peer == peer)?;
        } else if state.open.len() >= self.in_all {
            state.close_longest_idle(|_| true)?;
        }
        let id = state.next;
        state.next += 1;
        let close = CancellationToken::new();
        let entry = Entry { peer, phase: Phase::Idle(Instant::now()), close: close.clone() };
        state.open.insert(id, entry);
        drop(state);
        Some(Place { connections: Arc::clone(self), id, close })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves a connection in the map that its `Place` removes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes the connection that has been idle for longest.
    fn close_longest_idle(&mut self, may_close: impl Fn(&Entry) -> bool) -> Option<()> {
        let idle = self.open.iter().filter(|(_, entry)| may_close(entry));
        let idle = idle.filter_map(|(id, entry)| Some((entry.phase.idle_since()?, *id)));
        let (_, id) = idle.min()?;
        self.open.remove(&id)?.close.cancel();
        Some(())
    }
}

impl Place {
    /// Waits until the connection must make room for another.
    pub(super) async fn closed(&self) {
        self.close.cancelled().await;
    }

    /// Whether the service waits for a request of the client.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.connections.state();
        state.open.get(&self.id).is_none_or(|entry| entry.phase.idle_since().is_some())
    }

    fn set(&self, phase: Phase) {
        if let Some(entry) = self.connections.state().open.get_mut(&self.id) {
            entry.phase = phase;
        }
    }

    /// Takes note that the service receives a body, and makes room for it, if there is none.
    fn receive_body(&self) {
        let mut state = self.connections.state();
        let is_receiving = |entry: &Entry| matches!(entry.phase, Phase::ReceivingBody(_));
        let bodies = state.open.values().filter(|entry| is_receiving(entry)).count();
        if bodies >= self.connections.bodies {
            // There is one: the limit is at least 1.
            let _ = state.close_longest_idle(is_receiving);
        }
        if let Some(entry) = state.open.get_mut(&self.id) {
            entry.phase = Phase::ReceivingBody(Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.state().open.remove(&self.id);
    }
}

impl Activity {
    pub(super) fn new(place: Place) -> Self {
        Self(Arc::new(place))
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }

    /// Takes note that the service works on a request, until the result is dropped, or its response is to be sent.
    pub(super) fn work(&self) -> Working<'_> {
        self.0.set(Phase::Working);
        Working(&self.0)
    }

    /// Takes note that the service receives the body of a request, until the result is dropped.
    pub(super) fn receive_body(&self) -> Receiving<'_> {
        self.0.receive_body();
        Receiving(&self.0)
    }

    /// Takes note that the client has taken everything that was to be sent.
    pub(super) fn sent(&self) {
        if let Some(entry) = self.0.connections.state().open.get_mut(&self.0.id)
            && entry.phase == Phase::Sending
        {
            entry.phase = Phase::Idle(Instant::now());
        }
    }
}

impl Working<'_> {
    /// Takes note that the work is done, and the client is to take the response.
    pub(super) fn send(self) {
        self.0.set(Phase::Sending);
        std::mem::forget(self);
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.set(Phase::Idle(Instant::now()));
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.set(Phase::Working);
    }
}

/// Returns what counts as one peer. One subscriber has at least 2⁶⁴ IPv6 addresses.
fn peer_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::server::limits::tests::limits;

    fn connections(in_all: usize, per_peer: usize) -> Arc<Connections> {
        let number = |number| NonZeroUsize::new(number).unwrap();
        Arc::new(Connections::new(&Limits {
            connections: number(in_all),
            connections_per_peer: number(per_peer),
            ..limits()
        }))
    }

    fn is_closed(activity: &Activity) -> bool {
        activity.place().close.is_cancelled()
    }

    fn enter(connections: &Arc<Connections>, peer: &str) -> Option<Activity> {
        connections.enter(peer.parse().unwrap()).map(Activity::new)
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_one_that_is_idle_for_longest() {
        let connections = connections(3, 2);
        let first = enter(&connections, "10.0.0.1").unwrap();
        let other = enter(&connections, "10.0.0.2").unwrap();
        let second = enter(&connections, "10.0.0.1").unwrap();
        let third = enter(&connections, "::ffff:10.0.0.1").unwrap();
        assert!(is_closed(&first), "the limit of the peer");
        assert!(!is_closed(&other) && !is_closed(&second) && !is_closed(&third));
        let fourth = enter(&connections, "10.0.0.3").unwrap();
        assert!(is_closed(&other), "the limit of all");
        assert!(!is_closed(&second) && !is_closed(&third) && !is_closed(&fourth));
    }

    #[test]
    fn a_connection_for_which_the_service_works_keeps_its_place() {
        let connections = connections(2, 2);
        let (first, second) =
            (enter(&connections, "::1").unwrap(), enter(&connections, "::1").unwrap());
        let (working, also_working) = (first.work(), second.work());
        assert!(enter(&connections, "::2").is_none());
        let receiving = first.receive_body();
        drop(enter(&connections, "::1").unwrap());
        assert!(is_closed(&first) && !is_closed(&second));
        drop((receiving, working, also_working));
        drop(second);
        assert_eq!(connections.state().open.len(), 0);
    }

    /// A client that reads slowly is not idle, until it has its response.
    #[test]
    fn a_connection_keeps_its_place_until_its_response_is_sent() {
        let connections = connections(1, 1);
        let first = enter(&connections, "::1").unwrap();
        first.sent();
        first.work().send();
        assert!(enter(&connections, "::1").is_none() && !is_closed(&first));
        let working = first.work();
        first.sent();
        assert!(enter(&connections, "::1").is_none(), "the flush of an earlier response");
        working.send();
        first.sent();
        assert!(enter(&connections, "::1").is_some() && is_closed(&first));
    }

    #[test]
    fn a_body_above_the_limit_takes_the_place_of_the_one_that_takes_longest() {
        let number = |number| NonZeroUsize::new(number).unwrap();
        let connections = Arc::new(Connections::new(&Limits { bodies: number(2), ..limits() }));
        let each = ["::1", "::1", "::2", "::3"].map(|peer| enter(&connections, peer).unwrap());
        let [idle, first, second, third] = &each;
        let _receiving = (first.receive_body(), second.receive_body());
        assert!(!is_closed(first) && !is_closed(second));
        let _also_receiving = third.receive_body();
        assert!(is_closed(first) && !is_closed(second) && !is_closed(third) && !is_closed(idle));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer() {
        let key = |text: &str| peer_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }
}
