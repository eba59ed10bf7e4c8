use super::*;
use crate::{
    event::{Comm, Event, Stack, Task, What},
    finding::{Finding, How},
    owner::{Found, Kind, Owner},
};

/// A loss of two pages of `nccl worker`, in the cgroup 7.
fn lost() -> Finding {
    let comm = Comm(*b"nccl worker\0\0\0\0\0");
    Finding {
        id: 3,
        writer: Task { tgid: 1234, tid: 1236, comm, cgroup: 7 },
        address: 0x7f00_0000,
        pages: 2,
        old_pfn: 0x10e,
        owner: Some(Owner::new(Kind::Rdma, Found::Sure, "memory region 3 of rxe0").into()),
        ..Finding::new(Verdict::Diverged, How::Copied)
    }
}

fn trace() -> Trace {
    let mut trace = Trace::default();
    let what = What::Cgroup { id: 7, path: "/k8s/pod1/container".to_owned() };
    let (task, stack) = (Task::default(), Stack::default());
    trace.take(Ok(Event { time: 0, task, cpu: 0, program: None, stack, what }));
    trace
}

fn takes(text: &str) -> bool {
    let filter = Filter::parse(text, Finding::FIELDS).unwrap_or_else(|error| panic!("{error}"));
    filter.takes(&trace(), &lost())
}

fn refused(text: &str) -> String {
    Filter::parse(text, Finding::FIELDS).expect_err(text).to_string()
}

#[test]
fn a_row_must_meet_all_terms() {
    assert!(takes("comm=nccl* verdict>=diverged cgroup=/k8s/*"));
    assert!(!takes("comm=nccl* verdict>=lost cgroup=/k8s/*"));
    assert!(takes(""));
}

#[test]
fn any_of_the_values_will_do_and_none_of_those_that_are_refused() {
    assert!(takes("pid=1,1234"));
    assert!(!takes("pid!=1,1234"));
    assert!(takes("verdict=suspect,diverged"));
    assert!(takes("verdict!=suspect,lost"));
}

#[test]
fn an_owner_is_found_by_its_sort_and_by_its_words() {
    assert!(takes("owner=rdma") && takes("owner=*rxe0*") && takes("\"region 3\""));
    assert!(!takes("owner=vfio") && !takes("owner!=rdma"));
}

#[test]
fn a_word_is_looked_for_everywhere_and_case_does_not_matter() {
    assert!(takes("NCCL"));
    assert!(takes("0x10e"));
    assert!(takes("pod1 1236"));
    assert!(!takes("pod2"));
}

#[test]
fn a_star_stands_for_anything_and_nothing_else_is_special() {
    assert!(takes("cgroup=/k8s/*"));
    assert!(takes("cgroup=*container"));
    assert!(!takes("comm=nccl"));
    assert!(!takes("comm=[n]ccl*"));
    assert!(takes("verdict=div*"));
}

#[test]
fn quotes_keep_spaces_together() {
    assert!(takes("comm=\"nccl worker\""));
    assert!(takes("\"nccl w\""));
    assert!(!takes("\"worker nccl\""));
    assert_eq!(refused("comm=\"nccl"), "a quote is not closed");
}

#[test]
fn an_address_means_the_range_that_it_lies_in() {
    assert!(takes("address=0x7f001fff"));
    assert!(!takes("address=0x7f002000"));
    assert!(takes("pages>=2 pages<3 id=3"));
}

#[test]
fn what_nobody_can_read_is_refused_with_what_would_do() {
    assert!(refused("com=x").starts_with("no field \"com\" here: there are verdict, comm, pid"));
    assert!(refused("verdict>=bad").starts_with("no verdict \"bad\": there are inconclusive"));
    assert!(refused("verdict=bad").contains("lost"));
    assert_eq!(refused("pid=nccl"), "pid is a number, as 42 or 0x2a, and \"nccl\" is none");
    assert_eq!(refused("comm>x"), "comm has no order: comm= and comm!= are there");
}

#[test]
fn the_operator_is_the_first_that_stands_in_a_term() {
    assert!(!takes("comm=a>=b"));
    assert!(!takes("comm=="));
    assert!(takes("comm!=a=b"));
}
