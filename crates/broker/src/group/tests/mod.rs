//! Groups under scripts of joins, syncs, heartbeats and time.

mod bounds;
mod dynamic;
mod offsets;
mod properties;
mod static_members;

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::units::Timestamp;

const GROUP: &str = "readers";
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

/// Groups, the time, and what the journal was given.
struct World {
    groups: Groups,
    now: Now,
    journal: Vec<Entry>,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            groups: Groups::new(limits, 7),
            now: Now {
                instant: Instant::now(),
                wall: Timestamp(1_700_000_000_000),
            },
            journal: Vec::new(),
        }
    }

    /// Lets time pass; ticks whenever the groups want it.
    fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.groups.next_deadline().filter(|at| *at <= end) {
            self.set_time(at.max(self.now.instant));
            self.groups.tick(self.now);
            let again = self.groups.next_deadline();
            assert!(
                again.is_none_or(|next| next > at),
                "a tick must bring things forward"
            );
        }
        self.set_time(end);
    }

    fn set_time(&mut self, instant: Instant) {
        let passed = instant - self.now.instant;
        self.now.wall.0 += passed.as_millis() as i64;
        self.now.instant = instant;
    }

    fn join(&mut self, join: Join) -> Answer<Joined, JoinRefused> {
        self.groups.join(join, self.now)
    }

    /// A join that is answered at once.
    fn joins(&mut self, join: Join) -> Joined {
        said(&mut self.join(join)).expect("the join is accepted")
    }

    /// A join that is refused at once.
    fn refused(&mut self, join: Join) -> GroupError {
        said(&mut self.join(join))
            .expect_err("the join is refused")
            .error
    }

    /// The id that a new dynamic member is given.
    fn id_for(&mut self, client: &str) -> String {
        let refused = said(&mut self.join(member(client))).expect_err("an id comes first");
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        refused.member
    }

    /// Gets an id for a new dynamic member and joins with it.
    fn enter(&mut self, client: &str) -> (String, Answer<Joined, JoinRefused>) {
        let id = self.id_for(client);
        let answer = self.join(again(member(client), &id));
        (id, answer)
    }

    fn sync(&mut self, joined: &Joined, assignments: &[(&str, &str)]) -> Answer<Synced> {
        let sync = Sync {
            assignments: (assignments.iter())
                .map(|(id, part)| ((*id).to_owned(), Bytes::copy_from_slice(part.as_bytes())))
                .collect(),
            ..Sync::default()
        };
        self.groups.sync(&claim(joined), sync, self.now)
    }

    fn beat(&mut self, joined: &Joined) -> Result<(), GroupError> {
        self.groups.heartbeat(&claim(joined), self.now)
    }

    fn leave(&mut self, id: &str) -> Result<(), GroupError> {
        let leaver = Leaver {
            member: id.to_owned(),
            ..Leaver::default()
        };
        let answers = self.groups.leave(GROUP, &[leaver], self.now);
        answers.expect("the group id is good")[0]
    }

    fn state(&self) -> &'static str {
        let group = self.groups.describe(GROUP);
        group.map_or(State::DEAD, |group| group.state.name())
    }

    /// A stable group of members that were let in one after the other; the first leads.
    fn stable(clients: &[&str]) -> (Self, Vec<Joined>) {
        let mut world = Self::new();
        let mut members: Vec<Joined> = Vec::new();
        for client in clients {
            let (_, mut answer) = world.enter(client);
            let mut waiting: Vec<_> = (members.iter())
                .map(|joined| world.join(again(member(&name_of(&joined.member)), &joined.member)))
                .collect();
            members = waiting
                .iter_mut()
                .map(|answer| said(answer).expect("joined"))
                .collect();
            members.push(said(&mut answer).expect("joined"));
        }
        let leader = members[0].clone();
        let parts: Vec<(String, String)> = (members.iter())
            .map(|joined| {
                (
                    joined.member.clone(),
                    format!("part of {}", name_of(&joined.member)),
                )
            })
            .collect();
        let parts: Vec<(&str, &str)> = parts.iter().map(|(id, part)| (&**id, &**part)).collect();
        for joined in &members[1..] {
            drop(world.sync(joined, &[]));
        }
        said(&mut world.sync(&leader, &parts)).expect("synced");
        for joined in &members[1..] {
            said(&mut world.sync(joined, &[])).expect("synced");
        }
        assert_eq!(world.state(), "Stable");
        (world, members)
    }
}

/// What has been answered.
fn said<T, E>(answer: &mut Answer<T, E>) -> Result<T, E> {
    answer.try_recv().expect("it has been answered")
}

fn waits<T, E>(answer: &mut Answer<T, E>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

/// The client's name in a member id.
fn name_of(id: &str) -> String {
    id.split('-').next().unwrap_or_default().to_owned()
}

/// What a consumer says of its topics: version 0, then their names, then no user data.
fn subscription_to(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}

fn protocol(name: &str, topics: &[&str]) -> Protocol {
    Protocol {
        name: name.to_owned(),
        metadata: subscription_to(topics),
    }
}

/// A dynamic consumer without an id.
fn member(client: &str) -> Join {
    Join {
        group: GROUP.to_owned(),
        member: String::new(),
        instance: None,
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", &["events"])],
        id_required: true,
        can_skip_assignment: true,
        reason: None,
    }
}

fn again(join: Join, id: &str) -> Join {
    Join {
        member: id.to_owned(),
        ..join
    }
}

fn claim(joined: &Joined) -> Claim<'_> {
    Claim {
        group: GROUP,
        member: &joined.member,
        instance: None,
        generation: joined.generation,
    }
}
