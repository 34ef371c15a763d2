"""No two processes of a run are given the same port, nor one process twice."""

from tests.ports import free_ports, share


def test_no_port_is_given_twice() -> None:
    given = [*free_ports(5), *free_ports(5)]
    assert len(set(given)) == len(given) == 10


def test_processes_draw_from_shares_that_do_not_meet() -> None:
    whole = share(None, None)
    shares = [range(*share(f"gw{number}", "3")) for number in range(3)]
    assert len(set().union(*shares)) == sum(map(len, shares)) == whole[1] - whole[0]
    assert (shares[0].start, shares[-1].stop) == whole
