//! INV-GROUP under random members: they join, sync, heartbeat, leave, restart and vanish while time
//! passes.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 5;
/// The rebalance timeout that all members ask for, and so the longest that a join or a sync may wait:
/// longer than a session, so that sessions end while members wait.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

#[derive(Debug, Clone)]
enum Step {
    /// Joins, with the id it has or without one; `true` with metadata it did not have before.
    Join(usize, bool),
    Sync(usize),
    Heartbeat(usize),
    /// Everybody heartbeats.
    Heartbeats,
    Leave(usize),
    /// Forgets all it knew, as a process that starts again.
    Restart(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        4 => (client.clone(), prop::bool::weighted(0.2)).prop_map(|(who, new)| Step::Join(who, new)),
        4 => client.clone().prop_map(Step::Sync),
        2 => client.clone().prop_map(Step::Heartbeat),
        4 => Just(Step::Heartbeats),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.prop_map(Step::Restart),
        3 => (1_u64..12_000).prop_map(Step::Pass),
    ]
}

/// A client; those with an odd number are static members.
#[derive(Default)]
struct Client {
    id: String,
    joined: Option<Joined>,
    metadata: u8,
    joining: Option<(Instant, Answer<Joined, JoinRefused>)>,
    syncing: Option<(Instant, Generation, Answer<Synced>)>,
}

#[derive(Default)]
struct Seen {
    /// What each member was assigned in each generation, by its instance if it has one.
    assignments: HashMap<(i32, String), Bytes>,
    leaders: HashMap<i32, usize>,
}

struct Run {
    world: World,
    clients: Vec<Client>,
    seen: Seen,
}

impl Run {
    fn new(delay: bool) -> Self {
        let world = World::with(Limits {
            initial_rebalance_delay: Duration::from_secs(if delay { 3 } else { 0 }),
            members: 4,
            ..Limits::default()
        });
        Self {
            world,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            seen: Seen::default(),
        }
    }

    fn instance(who: usize) -> Option<String> {
        (who % 2 == 1).then(|| format!("static{who}"))
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Join(who, new) => self.join(who, new),
            Step::Sync(who) => self.sync(who),
            Step::Heartbeat(who) => self.heartbeat(who),
            Step::Heartbeats => (0..CLIENTS).for_each(|who| self.heartbeat(who)),
            Step::Leave(who) => {
                let leaver = Leaver {
                    member: self.clients[who].id.clone(),
                    ..Leaver::default()
                };
                self.world
                    .groups
                    .leave(GROUP, &[leaver], self.world.now)
                    .unwrap();
            }
            Step::Restart(who) => self.clients[who] = Client::default(),
            Step::Pass(ms) => self.pass(Duration::from_millis(ms)),
        }
        self.listen();
        self.check();
    }

    fn heartbeat(&mut self, who: usize) {
        let instance = Self::instance(who);
        if let Some(joined) = self.clients[who].joined.clone() {
            let claim = Claim {
                instance: instance.as_deref(),
                ..claim(&joined)
            };
            let _ = self.world.groups.heartbeat(&claim, self.world.now);
        }
    }

    fn join(&mut self, who: usize, new: bool) {
        let client = &mut self.clients[who];
        client.metadata = client.metadata.wrapping_add(u8::from(new));
        let join = Join {
            instance: Self::instance(who),
            rebalance_timeout: LONGEST_WAIT,
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: vec![client.metadata].into(),
            }],
            ..again(member("client"), &client.id)
        };
        let answer = self.world.join(join);
        let client = &mut self.clients[who];
        if let Some((_, mut older)) = client.joining.replace((self.world.now.instant, answer)) {
            assert!(
                !waits(&mut older) || client.id.is_empty(),
                "one member waits once"
            );
        }
    }

    /// The leader assigns to each what names it; the rest wait.
    fn sync(&mut self, who: usize) {
        let Some(joined) = self.clients[who].joined.clone() else {
            return;
        };
        let parts: Vec<(String, String)> = (joined.members.iter())
            .map(|member| {
                let owner = member.instance.as_ref().unwrap_or(&member.member);
                (
                    member.member.clone(),
                    format!("{}:{owner}", joined.generation.0),
                )
            })
            .collect();
        let parts: Vec<(&str, &str)> = parts.iter().map(|(id, part)| (&**id, &**part)).collect();
        let answer = self.world.sync(&joined, &parts);
        let waiting = (self.world.now.instant, joined.generation, answer);
        self.clients[who].syncing = Some(waiting);
    }

    /// Time passes in the steps that the groups ask for, and answers are heard at each.
    fn pass(&mut self, time: Duration) {
        let end = self.world.now.instant + time;
        while let Some(at) = self.world.groups.next_deadline().filter(|at| *at <= end) {
            self.world.pass(at - self.world.now.instant);
            self.listen();
            self.check();
        }
        self.world.pass(end - self.world.now.instant);
    }

    /// Takes the answers that have come. One that was lost fails here.
    fn listen(&mut self) {
        let now = self.world.now.instant;
        for (who, client) in self.clients.iter_mut().enumerate() {
            if let Some((since, mut answer)) = client.joining.take() {
                match answer.try_recv() {
                    Ok(Ok(joined)) => {
                        client.id = joined.member.clone();
                        if joined.leader == joined.member && !joined.skip_assignment {
                            let leader = self.seen.leaders.entry(joined.generation.0);
                            assert_eq!(*leader.or_insert(who), who, "one leader a generation");
                        }
                        client.joined = Some(joined);
                    }
                    Ok(Err(refused)) if refused.error == GroupError::MemberIdRequired => {
                        client.id = refused.member;
                    }
                    Ok(Err(_)) => (client.id, client.joined) = (String::new(), None),
                    Err(TryRecvError::Closed) => panic!("the answer to a join was lost"),
                    Err(TryRecvError::Empty) => {
                        assert!(
                            now - since <= LONGEST_WAIT,
                            "a join waits for {:?}",
                            now - since
                        );
                        client.joining = Some((since, answer));
                    }
                }
            }
            if let Some((since, generation, mut answer)) = client.syncing.take() {
                match answer.try_recv() {
                    Ok(Ok(synced)) => {
                        let owner = Self::instance(who).unwrap_or_else(|| client.id.clone());
                        let key = (generation.0, owner);
                        let first = self
                            .seen
                            .assignments
                            .entry(key)
                            .or_insert(synced.assignment.clone());
                        assert_eq!(*first, synced.assignment, "one assignment a generation");
                    }
                    Ok(Err(_)) => (),
                    Err(TryRecvError::Closed) => panic!("the answer to a sync was lost"),
                    Err(TryRecvError::Empty) => {
                        assert!(
                            now - since <= LONGEST_WAIT,
                            "a sync waits for {:?}",
                            now - since
                        );
                        client.syncing = Some((since, generation, answer));
                    }
                }
            }
        }
    }

    fn check(&mut self) {
        let now = self.world.now.instant;
        let groups = &self.world.groups;
        let Some(group) = groups.by_id.get(GROUP) else {
            // Generations begin anew.
            self.seen = Seen::default();
            assert_eq!((groups.member_bytes, groups.timers.len()), (0, 0));
            return;
        };
        assert_eq!(groups.member_bytes, group.bytes());
        let noted: Vec<_> = groups.timers.iter().map(|(at, _)| Some(*at)).collect();
        assert_eq!(noted, group.timer.map(Some).into_iter().collect::<Vec<_>>());
        assert_eq!(group.timer, group.next_deadline(&groups.limits));
        assert!(group.state() != State::Empty || group.members.is_empty());
        let leads = group
            .leader
            .as_ref()
            .map(|leader| group.members.contains_key(leader));
        assert_eq!(
            leads,
            (!group.members.is_empty()).then_some(true),
            "the leader is a member"
        );
        for (id, member) in &group.members {
            let heard = member.expires.is_some_and(|at| at > now);
            assert!(heard || member.is_waiting(), "{id} has not been heard of");
            match group.state() {
                State::Stable => assert!(heard && !member.is_waiting(), "{id} in a stable group"),
                State::CompletingRebalance => assert!(!member.is_joining(), "{id}"),
                State::PreparingRebalance | State::Empty => (),
            }
            if let Some(instance) = &member.instance {
                assert_eq!(group.instances.get(instance), Some(id));
            }
        }
        let statics = group
            .members
            .values()
            .filter(|member| member.instance.is_some())
            .count();
        assert_eq!(group.instances.len(), statics);
        assert!(
            group
                .unsynced
                .iter()
                .all(|id| group.members.contains_key(id))
        );
        assert!(group.pending.len() <= groups.limits.members);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_group_keeps_its_promises_whatever_its_members_do(
        delay in any::<bool>(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut run = Run::new(delay);
        for step in &steps {
            run.take(step);
        }
        // When everybody has gone silent, everything that waits is answered and nothing stays.
        run.pass(Duration::from_secs(3_600));
        prop_assert!(run.world.groups.by_id.is_empty());
        prop_assert!(run.clients.iter().all(|client| client.joining.is_none() && client.syncing.is_none()));
    }
}
