//! Members without an instance id.

use super::*;

#[test]
fn a_member_alone_leads_and_gets_its_own_assignment() {
    let mut world = World::new();
    let (id, mut answer) = world.enter("a");
    let joined = said(&mut answer).unwrap();
    assert_eq!(joined.member, id);
    assert_eq!(joined.leader, id);
    assert_eq!(joined.generation, Generation(1));
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(world.state(), "CompletingRebalance");
    let synced = said(&mut world.sync(&joined, &[(&id, "all")])).unwrap();
    assert_eq!(synced.assignment, "all");
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.beat(&joined), Ok(()));
}

#[test]
fn a_member_without_an_id_is_given_one_and_joins_with_it() {
    let mut world = World::new();
    let id = world.id_for("client");
    assert!(
        id.starts_with("client-") && id.len() == "client-".len() + 36,
        "{id}"
    );
    assert_eq!(world.state(), "Empty");
    assert_ne!(world.id_for("client"), id);
    // Old clients (before version 4) join at once.
    let mut old = member("old");
    old.group = "another".to_owned();
    old.id_required = false;
    let joined = world.joins(old);
    assert_eq!(joined.generation, Generation(1));
}

#[test]
fn an_id_that_is_never_used_lapses_and_holds_up_nobody() {
    let (mut world, members) = World::stable(&["a"]);
    world.id_for("gone");
    let mut answer = world.join(again(member("a"), &members[0].member));
    assert!(waits(&mut answer), "the one with the new id is waited for");
    world.pass(SESSION);
    assert_eq!(said(&mut answer).unwrap().generation, Generation(2));
}

#[test]
fn three_members_share_one_generation_and_one_leader() {
    let (mut world, members) = World::stable(&["a", "b", "c"]);
    let generations: Vec<_> = members.iter().map(|joined| joined.generation).collect();
    assert_eq!(generations, [Generation(3); 3]);
    assert!(
        members
            .iter()
            .all(|joined| joined.leader == members[0].member)
    );
    let listed: Vec<_> = members.iter().map(|joined| joined.members.len()).collect();
    assert_eq!(listed, [3, 0, 0], "only the leader is told who is there");
    for joined in &members {
        let synced = said(&mut world.sync(joined, &[])).unwrap();
        assert_eq!(
            synced.assignment,
            format!("part of {}", name_of(&joined.member))
        );
        assert_eq!(synced.protocol_type.as_deref(), Some("consumer"));
    }
}

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let mut world = World::new();
    let (a, mut first) = world.enter("a");
    said(&mut first).unwrap();
    let (b, mut second) = world.enter("b");
    assert!(waits(&mut second));
    let leader = world.joins(again(member("a"), &a));
    let follower = said(&mut second).unwrap();
    let mut waiting = world.sync(&follower, &[]);
    assert!(waits(&mut waiting));
    said(&mut world.sync(&leader, &[(&a, "0,1"), (&b, "2"), ("stranger", "3")])).unwrap();
    assert_eq!(said(&mut waiting).unwrap().assignment, "2");
}

#[test]
fn a_member_that_the_leader_forgot_gets_nothing_and_no_error() {
    let mut world = World::new();
    let (_, mut answer) = world.enter("a");
    let joined = said(&mut answer).unwrap();
    assert_eq!(said(&mut world.sync(&joined, &[])).unwrap().assignment, "");
    assert_eq!(world.state(), "Stable");
}

#[test]
fn when_the_leader_leaves_another_leads() {
    let (mut world, members) = World::stable(&["a", "b", "c"]);
    assert_eq!(world.leave(&members[0].member), Ok(()));
    assert_eq!(
        world.beat(&members[1]),
        Err(GroupError::RebalanceInProgress)
    );
    let mut b = world.join(again(member("b"), &members[1].member));
    assert!(waits(&mut b));
    let c = world.joins(again(member("c"), &members[2].member));
    let b = said(&mut b).unwrap();
    assert_eq!(b.generation, Generation(4));
    assert_eq!(b.leader, c.leader);
    assert!([&b.member, &c.member].contains(&&b.leader));
    assert_eq!(world.beat(&members[0]), Err(GroupError::UnknownMember));
    assert_eq!(
        world.leave(&members[0].member),
        Err(GroupError::UnknownMember)
    );
}

#[test]
fn a_follower_whose_session_expires_is_out() {
    let (mut world, members) = World::stable(&["a", "b"]);
    world.pass(SESSION.saturating_sub(Duration::from_secs(1)));
    assert_eq!(world.beat(&members[0]), Ok(()));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(
        world.beat(&members[0]),
        Err(GroupError::RebalanceInProgress)
    );
    assert_eq!(world.beat(&members[1]), Err(GroupError::UnknownMember));
    let joined = world.joins(again(member("a"), &members[0].member));
    assert_eq!(
        (joined.generation, joined.members.len()),
        (Generation(3), 1)
    );
}

#[test]
fn the_last_member_leaves_an_empty_group_of_the_next_generation() {
    let (mut world, members) = World::stable(&["a"]);
    assert_eq!(world.leave(&members[0].member), Ok(()));
    let group = world.groups.describe(GROUP).unwrap();
    assert_eq!(
        (group.state, &*group.protocol_type),
        (State::Empty, "consumer")
    );
    let (_, mut answer) = world.enter("b");
    assert_eq!(said(&mut answer).unwrap().generation, Generation(3));
}

#[test]
fn a_member_that_heartbeats_but_does_not_join_again_is_left_behind() {
    let (mut world, members) = World::stable(&["a", "b"]);
    let (_, mut newcomer) = world.enter("c");
    let mut a = world.join(again(member("a"), &members[0].member));
    for _ in 0..12 {
        assert_eq!(
            world.beat(&members[1]),
            Err(GroupError::RebalanceInProgress)
        );
        world.pass(Duration::from_secs(5));
    }
    assert_eq!(said(&mut a).unwrap().members.len(), 2);
    assert_eq!(said(&mut newcomer).unwrap().generation, Generation(3));
    assert_eq!(world.beat(&members[1]), Err(GroupError::UnknownMember));
}

#[test]
fn a_leader_that_joins_but_never_syncs_is_removed_and_the_others_join_again() {
    let (mut world, members) = World::stable(&["a", "b"]);
    let mut a = world.join(again(member("a"), &members[0].member));
    let b = world.joins(again(member("b"), &members[1].member));
    let a = said(&mut a).unwrap();
    let mut waiting = world.sync(&b, &[]);
    for _ in 0..11 {
        world.pass(Duration::from_secs(5));
        assert_eq!(world.beat(&a), Ok(()));
        assert!(waits(&mut waiting));
    }
    world.pass(Duration::from_secs(5));
    assert_eq!(said(&mut waiting), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.beat(&a), Err(GroupError::UnknownMember));
    assert_eq!(world.joins(again(member("b"), &b.member)).leader, b.member);
}

#[test]
fn a_follower_that_joins_again_unchanged_keeps_its_generation_but_the_leader_rebalances() {
    let (mut world, members) = World::stable(&["a", "b"]);
    let same = world.joins(again(member("b"), &members[1].member));
    assert_eq!(
        (same.generation, world.state()),
        (members[1].generation, "Stable")
    );
    let mut leader = world.join(again(member("a"), &members[0].member));
    assert!(waits(&mut leader));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_cooperative_rebalance_takes_two_rounds() {
    let (mut world, members) = World::stable(&["a", "b"]);
    // First round: `a` gives up a partition, and says so by joining with other metadata.
    let mut given_up = again(member("b"), &members[1].member);
    given_up.protocols = vec![protocol("range", &["events", "more"])];
    let mut b = world.join(given_up.clone());
    assert_eq!(
        world.beat(&members[0]),
        Err(GroupError::RebalanceInProgress)
    );
    let a = world.joins(again(member("a"), &members[0].member));
    let b = said(&mut b).unwrap();
    assert_eq!(b.generation, Generation(3));
    let mut waiting = world.sync(&b, &[]);
    said(&mut world.sync(&a, &[(&a.member, "1"), (&b.member, "")])).unwrap();
    assert_eq!(said(&mut waiting).unwrap().assignment, "");
    // Second round: what was given up is handed on.
    let mut a = world.join(again(member("a"), &a.member));
    let b = world.joins(given_up);
    let a = said(&mut a).unwrap();
    let mut waiting = world.sync(&b, &[]);
    said(&mut world.sync(&a, &[(&a.member, "1"), (&b.member, "2")])).unwrap();
    assert_eq!(said(&mut waiting).unwrap().assignment, "2");
    assert_eq!(a.generation, Generation(4));
}

#[test]
fn a_join_during_the_assignment_sends_those_who_wait_for_it_back() {
    let (mut world, members) = World::stable(&["a", "b"]);
    let mut a = world.join(again(member("a"), &members[0].member));
    let b = world.joins(again(member("b"), &members[1].member));
    let a = said(&mut a).unwrap();
    let mut waiting = world.sync(&b, &[]);
    let (_, mut c) = world.enter("c");
    assert_eq!(said(&mut waiting), Err(GroupError::RebalanceInProgress));
    assert_eq!(
        said(&mut world.sync(&a, &[])),
        Err(GroupError::RebalanceInProgress)
    );
    assert!(waits(&mut c));
}

#[test]
fn a_lost_answer_to_a_join_is_given_again() {
    let mut world = World::new();
    let (id, mut answer) = world.enter("a");
    let first = said(&mut answer).unwrap();
    let second = world.joins(again(member("a"), &id));
    assert_eq!(second, first);
}

#[test]
fn the_protocol_is_voted_for_among_those_that_all_support() {
    let mut world = World::new();
    let offer = |names: &[&str]| {
        names
            .iter()
            .map(|name| protocol(name, &["events"]))
            .collect()
    };
    let with = |client: &str, names: &[&str]| Join {
        protocols: offer(names),
        ..member(client)
    };
    let join = |world: &mut World, client: &str, names: &[&str]| {
        let id = said(&mut world.join(with(client, names)))
            .expect_err("an id comes first")
            .member;
        (id.clone(), world.join(again(with(client, names), &id)))
    };
    let (a, _first) = join(&mut world, "a", &["mine", "range", "sticky"]);
    let (_, mut b) = join(&mut world, "b", &["sticky", "range"]);
    let (_, mut c) = join(&mut world, "c", &["sticky", "range"]);
    let joined = world.joins(again(with("a", &["mine", "range", "sticky"]), &a));
    assert_eq!(joined.protocol.as_deref(), Some("sticky"));
    assert_eq!(
        said(&mut b).unwrap().protocol,
        said(&mut c).unwrap().protocol
    );
    let stranger = with("d", &["roundrobin"]);
    assert_eq!(world.refused(stranger), GroupError::InconsistentProtocol);
    let mut connect = with("d", &["range"]);
    connect.protocol_type = "connect".to_owned();
    assert_eq!(world.refused(connect), GroupError::InconsistentProtocol);
}

#[test]
fn a_sync_with_another_protocol_than_the_groups_is_refused() {
    let mut world = World::new();
    let (_, mut answer) = world.enter("a");
    let joined = said(&mut answer).unwrap();
    let sync = Sync {
        protocol: Some("sticky".to_owned()),
        ..Sync::default()
    };
    let mut answer = world.groups.sync(&claim(&joined), sync, world.now);
    assert_eq!(said(&mut answer), Err(GroupError::InconsistentProtocol));
}

#[test]
fn old_generations_are_refused() {
    let (mut world, members) = World::stable(&["a"]);
    let mut old = members[0].clone();
    old.generation = Generation(0);
    assert_eq!(world.beat(&old), Err(GroupError::IllegalGeneration));
    assert_eq!(
        said(&mut world.sync(&old, &[])),
        Err(GroupError::IllegalGeneration)
    );
}

#[test]
fn what_is_asked_of_a_group_that_does_not_exist_is_asked_by_an_unknown_member() {
    let mut world = World::new();
    let ghost = Joined {
        member: "ghost".to_owned(),
        ..World::stable(&["a"]).1[0].clone()
    };
    assert_eq!(world.beat(&ghost), Err(GroupError::UnknownMember));
    assert_eq!(
        said(&mut world.sync(&ghost, &[])),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(world.leave("ghost"), Err(GroupError::UnknownMember));
    assert_eq!(
        world.refused(again(member("a"), "ghost")),
        GroupError::UnknownMember
    );
    assert_eq!(world.state(), "Dead");
}

#[test]
fn an_initial_delay_gathers_the_first_members_into_one_generation() {
    let mut world = World::with(Limits {
        initial_rebalance_delay: Duration::from_secs(3),
        ..Limits::default()
    });
    let (_, mut a) = world.enter("a");
    world.pass(Duration::from_secs(2));
    let (_, mut b) = world.enter("b");
    world.pass(Duration::from_secs(2));
    assert!(waits(&mut a), "a newcomer prolongs the wait");
    world.pass(Duration::from_secs(2));
    assert_eq!(said(&mut a).unwrap().generation, Generation(1));
    assert_eq!(said(&mut b).unwrap().generation, Generation(1));
}

#[test]
fn a_client_that_went_away_while_it_waited_leaves_no_trace() {
    let (mut world, members) = World::stable(&["a"]);
    let (_, gone) = world.enter("gone");
    drop(gone);
    world.pass(Duration::from_secs(1));
    let joined = world.joins(again(member("a"), &members[0].member));
    assert_eq!(
        joined.members.len(),
        2,
        "it may only have lost its connection"
    );
    world.pass(SESSION + REBALANCE);
    assert_eq!(world.state(), "Empty");
    world.pass(Limits::default().empty_group_retention);
    assert_eq!(world.state(), "Dead");
    assert_eq!(
        (world.groups.member_bytes, world.groups.timers.len()),
        (0, 0)
    );
}

#[test]
fn a_members_session_begins_anew_with_its_assignment() {
    let (mut world, members) = World::stable(&["a", "b"]);
    let mut a = world.join(again(member("a"), &members[0].member));
    let b = world.joins(again(member("b"), &members[1].member));
    let a = said(&mut a).unwrap();
    let mut waiting = world.sync(&b, &[]);
    for _ in 0..4 {
        world.pass(SESSION / 2);
        assert_eq!(world.beat(&a), Ok(()));
    }
    said(&mut world.sync(&a, &[])).unwrap();
    said(&mut waiting).unwrap();
    world.pass(SESSION / 2);
    assert_eq!(world.beat(&a), Ok(()));
    assert_eq!(world.state(), "Stable");
    world.pass(SESSION / 2);
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(
        world.beat(&b),
        Err(GroupError::UnknownMember),
        "it was silent for a session"
    );
}
