"""A plan for a large random graph; as a program: makes one and prints what that took."""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph, Made, Node, Want
from avocado_pool_plugin.graph.plan import RUN, Found, Wish, make_plan

TESTS, STATES, VMS = 10_000, 2_000, 20


def random_graph(dice: random.Random) -> tuple[Graph, list[State]]:
    """
    Return tests that each set a state on an earlier one of their vm, and such that set none.

    :return: the graph, with the tests in any order, and its states
    """
    states: list[State] = []
    nodes: list[Node] = []
    for number in range(STATES):
        vm = f"vm{number % VMS}"
        state = State(vm, "image1", f"state{number}")
        # the latest ones of the same vm, so that there are long chains beside short ones
        near = states[number % VMS :: VMS][-5:]
        parent = dice.choice(near) if near else None
        gets = (Want(parent),) if parent else ()
        if states and dice.random() < 0.1:
            gets += (Want(dice.choice(states)),)
        nodes.append(Node(f"sets.{state.name}", gets, (Made(state, parent),)))
        states.append(state)
    for number in range(TESTS - STATES):
        gets = tuple(Want(state) for state in dice.sample(states, dice.randint(1, 3)))
        nodes.append(Node(f"uses.test{number}", gets))
    dice.shuffle(nodes)
    return Graph.of(nodes), states


def peak_memory() -> int:
    """Return the most memory that this process had so far, in bytes."""
    # what getrusage tells includes what the parent had when it started this process
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def main() -> None:
    """Print the seconds of the plan, the peak of memory in bytes, and how many tests run."""
    dice = random.Random(1)
    graph, states = random_graph(dice)
    there = {state: Found("cache") for state in dice.sample(states, STATES // 2)}
    wish = Wish(tuple(graph.nodes))
    started = time.perf_counter()
    plan = make_plan(graph, wish, lambda state: there.get(state, Found()))
    seconds = time.perf_counter() - started
    print(seconds, peak_memory(), len(plan.named(RUN)))


if __name__ == "__main__":
    main()
