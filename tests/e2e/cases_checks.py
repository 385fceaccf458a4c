"""What health checks tell of a bridge that does not fit, and of a way that refuses them."""

from cases_health import check_services, health_of, is_in, log_says
from cases_kernel import restart
from harness import case, equal, eventually, true

# A bridge sends back what it does not know when it comes a third time, after 600 ms.
PATIENT = "interval: 1s, timeout: 1s, rise: 1"


@case("a bridge whose secret differs: its checks say so, and it is up when it has the balancer's again")
def _(world):
    bridge = "b2"
    check_services(world, ["web"], PATIENT)
    world.clean_up.callback(restart, world, bridge)
    before = world.edited(f"{bridge}.secret", lambda text: text[31::-1] + text[32:])
    restart(world, bridge)

    # While it restarted, checks may have failed for other reasons, of which the log has told.
    def is_told():
        health = health_of(world, f"web{world.family}")[bridge]
        return health["state"] != "up" and "its secret differs" in (health["failure"] or "")

    eventually(is_told, lambda: f"{bridge} is ill for its secret: {health_of(world, f'web{world.family}')[bridge]}", seconds=20)
    world.rewrite(f"{bridge}.secret", lambda _: before)
    restart(world, bridge)
    eventually(lambda: is_in(world, bridge, "up"), f"{bridge} is up again", seconds=15)


@case("a bridge that has another number than the balancer's file says: told once, and when it is right again")
def _(world):
    check_services(world, ["web"])
    world.edited("balancer.yaml", lambda text: text.replace("number: 2 }", "number: 12 }"))
    words = "calls itself number 2, and this file calls it 12"
    eventually(lambda: log_says(world, "bridge b2 (", words),
               lambda: f"the log tells of both numbers: {health_of(world, f'web{world.family}')['b2']}", seconds=15)
    passed = health_of(world, f"web{world.family}")["b2"]["checks"]["passed"]
    eventually(lambda: health_of(world, f"web{world.family}")["b2"]["checks"]["passed"] > passed + 2, "more checks pass", seconds=15)
    equal(world.log_of("balancer", of_this_case=True).count(words), 1, "lines that tell of it")
    true(is_in(world, "b2", "up"), "b2 is up all the same")
    world.rewrite("balancer.yaml", lambda text: text.replace("number: 12 }", "number: 2 }"))
    eventually(lambda: log_says(world, "bridge b2 (", "has the number that this file says"), "the log tells that it agrees", seconds=15)
    others = [line for line in world.log_of("balancer", of_this_case=True).splitlines() if "number" in line and "b2" not in line]
    true(not any("bridge b1 (" in line or "bridge b3 (" in line for line in others), f"nothing is said of the others: {others}")


@case("a router that refuses checks by ICMP errors: they fail at once and in its words, and clients are served")
def _(world):
    bridge, address = "b2", world.bridge_address("b2")
    v4 = world.family == 4
    router = "192.168.33.1" if v4 else "fd33::1"
    check_services(world, ["web"], PATIENT)
    # That the router knows a shorter way is not to be told.
    world.rule("router", "OUTPUT", "-p icmp --icmp-type redirect" if v4 else "-p icmpv6 --icmpv6-type redirect")
    world.rule("router", "FORWARD", f"-s {world.balancer} -d {address} -p tcp",
               f"REJECT --reject-with {'icmp-host-prohibited' if v4 else 'icmp6-adm-prohibited'}")
    words = ("ip", "route") if v4 else ("ip", "-6", "route")
    prefix = f"{address}/{32 if v4 else 128}"
    world.clean_up.callback(world.lab.on, "balancer", *words, "del", prefix)
    world.lab.on("balancer", *words, "add", prefix, "via", router, "dev", "eth1")
    says = f"{'host prohibited' if v4 else 'prohibited by a firewall'}, says {router}"
    eventually(lambda: log_says(world, f"bridge {bridge} (", "is ill", says),
               lambda: f"the log has the router's words: {health_of(world, f'web{world.family}')[bridge]}", seconds=15)
    true(health_of(world, f"web{world.family}")[bridge]["checks"]["unreachable"] >= 1, "the check is counted by its end")
    equal(world.curl(world.url("/served/meanwhile")).split()[0] in ("b1", "b3"), True, "the others serve")
