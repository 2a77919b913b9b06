/* See sim_faults.h. A node that was stopped, damaged or filled comes back by chance; when
 * everything is to heal, damaged bits are flipped back, as if the disk had been mended: what
 * the node refused to trust was still there. */
#include "sim_faults.h"

#include <raft.h>
#include <string.h>

#include "cluster/wire.h"
#include "sim_frames.h"

#define ROOMY UINT64_C(1) << 40

static void on_nothing(void *arg, int status) { (void)arg, (void)status; }

/* ---- The plan ------------------------------------------------------------------------------- */

static unsigned pick(uint64_t *random, const unsigned *from, unsigned n)
{
    /* splitmix64, as the world's own */
    uint64_t z = (*random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return from[(z ^ (z >> 31)) % n];
}
#define PICK(...)                                                                                  \
    pick(&random, (const unsigned[]){ __VA_ARGS__ },                                               \
         sizeof((const unsigned[]){ __VA_ARGS__ }) / sizeof(unsigned))

struct plan plan_of(uint64_t seed)
{
    uint64_t random = seed * UINT64_C(0xd1342543de82ef95) + 7;
    struct plan p = { 0 };
    p.nodes = PICK(1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7);
    p.clients = PICK(3, 6, 10);
    p.steps = PICK(200, 400, 800);
    p.step_ms = PICK(20, 40, 40, 200);
    p.think_ms = PICK(50, 150, 600);
    p.rate = PICK(6, 12, 25, 50);
    p.messages.loss_percent = PICK(0, 0, 0, 2, 10, 30);
    p.messages.replay_percent = PICK(0, 0, 0, 5, 20, 50);
    p.messages.delay_percent = PICK(0, 0, 0, 5, 20);
    p.messages.delay_max_ms = PICK(5, 50, 1000);
    p.messages.flip_ppm = PICK(0, 0, 0, 50, 2000);
    p.bad_disks = PICK(0, 0, 1) != 0;
    unsigned ppm = PICK(500, 5000, 100000, 100000); /* VOPR: up to a tenth of all */
    p.disk = (struct sim_disk_rates){ ppm, ppm, ppm, ppm, ppm };
    p.rot = PICK(0, 0, 1) != 0;
    p.clocks = PICK(0, 1) != 0;
    p.hours = PICK(0, 0, 0, 1) != 0;
    p.network = PICK(0, 1, 1) != 0;
    p.points = PICK(0, 1, 1, 1, 1, 1, 1, 1) != 0;
    p.members = PICK(0, 0, 1) != 0;
    p.steps *= p.members ? 2 : 1;
    p.quiet_ms = seed % 50 == 49 ? 3600000 : 0;
    return p;
}

/* ---- Crash points -------------------------------------------------------------------------------
 */

/* What happens once in a node's life is rarely met by chance: the first lives look for it. */
static unsigned early_point(struct sim *sim)
{
    static const enum sim_file files[] = { FILE_LOCK, FILE_IDENTITY, FILE_IDENTITY,
                                           FILE_VOTE, FILE_MARK,     FILE_LOG };
    if (sim_rand(sim, 2) == 0) {
        return sim_message_point(7 + (unsigned)sim_rand(sim, 4), sim_rand(sim, 2) == 0,
                                 sim_rand(sim, 2) == 0);
    }
    return sim_file_point(files[sim_rand(sim, 6)], (enum sim_act)sim_rand(sim, SIM_ACTS),
                          (enum sim_phase)sim_rand(sim, SIM_PHASES));
}

/* What few lives come by is looked for on purpose, also before the code has come by it. */
static unsigned rare_point(struct sim *sim)
{
    static const unsigned messages[] = { FRAME_OF_RAFT(RAFT_TIMEOUT_NOW), FRAME_OF(WIRE_SNAP_BEGIN),
                                         FRAME_OF(WIRE_SNAP_CHUNK), FRAME_OF(WIRE_SNAP_ACK) };
    if (sim_rand(sim, 4) == 0) {
        return sim_file_point(sim_rand(sim, 2) == 0 ? FILE_LOG : FILE_SNAPSHOT, ACT_REMOVE,
                              sim_rand(sim, 2) == 0 ? PHASE_BEFORE : PHASE_AFTER);
    }
    return sim_message_point(messages[sim_rand(sim, 4)], sim_rand(sim, 2) == 0,
                             sim_rand(sim, 2) == 0);
}

/* A crash while the identity was being made may have left its part file, which the next start
 * removes. */
static bool may_have_part(const struct sim_node *n)
{
    return n->arm_point < SIM_FILE_POINTS && sim_point_file(n->arm_point) == FILE_IDENTITY &&
           sim_point_act(n->arm_point) < ACT_RENAME;
}

static unsigned after_identity_point(struct sim *sim)
{
    return sim_file_point(FILE_IDENTITY, ACT_REMOVE,
                          sim_rand(sim, 2) == 0 ? PHASE_BEFORE : PHASE_AFTER);
}

/* Of some that the code has come by in this run the one that it came by least: what is done
 * all the time is met often enough. */
static unsigned late_point(struct sim *sim)
{
    unsigned best = SIM_POINTS;
    for (int i = 0, tries = 0; i < 4 && tries < 2000; tries++) {
        unsigned point = (unsigned)sim_rand(sim, SIM_POINTS);
        uint64_t passed = sim_point_passed(sim, point);
        i += passed > 0;
        if (passed > 0 && (best == SIM_POINTS || passed < sim_point_passed(sim, best))) {
            best = point;
        }
        if (i == 1 && sim_rand(sim, 2) == 0) {
            break; /* and half of the time any */
        }
    }
    return best;
}

/* For the life that begins, or for the one that is running. */
static void arm_point(struct sim_node *n, bool early)
{
    struct sim *sim = n->w->sim;
    bool identity = !early && !n->running && may_have_part(n);
    bool rare = !early && !identity && sim_rand(sim, 4) == 0;
    n->arm_point = early      ? early_point(sim)
                   : identity ? after_identity_point(sim)
                   : rare     ? rare_point(sim)
                              : late_point(sim);
    n->arm_nth = n->arm_point == SIM_POINTS ? 0
                 : identity || rare         ? 1
                                            : 1 + sim_rand(sim, 2) * sim_rand(sim, 6);
    n->arm_how = sim_rand(sim, 2) == 0 ? SIM_KILL : SIM_POWER_LOSS;
    if (n->running) {
        sim_crash_at(n->env, n->arm_point, n->arm_nth, n->arm_how);
        n->arm_nth = 0;
    }
}

void faults_start(struct faults *f, struct sim_node *n)
{
    bool first = n->env == NULL;
    if (n->rotten && n->unwell && sim_rand(f->w->sim, 2) == 0) {
        sim_unrot(f->w->sim, n->address, &n->rot); /* its disk has been mended */
        n->rotten = f->rotten = false;
    }
    if (f->p->points && sim_rand(f->w->sim, 2) == 0) {
        arm_point(n, first);
    }
    world_start(n);
}

/* ---- Kinds of faults
 * ------------------------------------------------------------------------------ */

static void process_fault(struct faults *f, struct sim_node *n)
{
    struct sim *sim = f->w->sim;
    switch (sim_rand(sim, 10)) {
    case 0: world_crash(n, SIM_KILL); break;
    case 1: world_crash(n, SIM_POWER_LOSS); break;
    case 2: world_pause(n); break;
    case 3: world_resume(n); break;
    case 4:
    case 5:
        if (f->p->points && n->running && !sim_is_ghost(n->env)) {
            arm_point(n, false);
        }
        break;
    default:
        /* Who is to be added is started when it is. */
        if (!n->running && n->env != NULL) {
            faults_start(f, n);
        }
        break;
    }
}

/* The two halves see each other through one node only, or not at all. */
static void cut_halves(struct faults *f, bool bridge)
{
    struct sim_world *w = f->w;
    unsigned middle = (unsigned)sim_rand(w->sim, w->count), side = 0;
    bool left[WORLD_NODES_MAX];
    for (unsigned i = 0; i < w->count; i++) {
        left[i] = (i + sim_rand(w->sim, 2)) % 2 == 0;
        side += left[i];
    }
    for (unsigned i = 0; i < w->count && side > 0 && side < w->count; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (left[i] != left[k] && (!bridge || (i != middle && k != middle))) {
                sim_cut(w->sim, w->nodes[i].address, w->nodes[k].address);
            }
        }
    }
    sim_count(w->sim, bridge ? SIM_N_BRIDGE : SIM_N_HALVES);
}

static void network_fault(struct faults *f, struct sim_node *n, struct sim_node *m)
{
    struct sim *sim = f->w->sim;
    struct sim_network slow = { 1000, 60000, 500, 50 }, fast = { 50, 400, 0, 25 };
    switch (sim_rand(sim, 12)) {
    case 0:
        sim_isolate(sim, n->address);
        sim_count(sim, SIM_N_ISOLATE);
        break;
    case 1:
        if (n != m) {
            sim_block(sim, n->address, m->address, true);
            sim_count(sim, SIM_N_ONE_WAY);
        }
        break;
    case 2: cut_halves(f, false); break;
    case 3: cut_halves(f, true); break;
    case 4:
        if (n != m) {
            f->flap[0] = n;
            f->flap[1] = m;
            sim_count(sim, SIM_N_FLAP);
        }
        break;
    case 5:
        sim_reset(sim, n->address, m->address);
        sim_count(sim, SIM_N_RESET);
        break;
    case 6:
        sim_set_network(sim, &slow);
        sim_count(sim, SIM_N_SLOW);
        break;
    case 7: sim_set_network(sim, &fast); break;
    default:
        f->flap[0] = NULL;
        sim_heal(sim);
        break;
    }
}

/* Nearly full, which is refused early; or so full that the next segment or snapshot meets it. */
static void set_full(struct sim_node *n, bool full)
{
    uint64_t bytes = full ? 1u << 20 : ROOMY;
    if (full && sim_rand(n->w->sim, 2) == 0) {
        bytes = sim_disk_used(n->env) + sim_rand(n->w->sim, 1u << 13);
    }
    n->full = full;
    sim_set_disk_bytes(n->env, bytes);
}

static void disk_fault(struct faults *f, struct sim_node *n)
{
    struct sim *sim = f->w->sim;
    struct sim_disk_rates none = { 0 };
    if (!n->running || sim_is_ghost(n->env)) {
        return;
    }
    switch (sim_rand(sim, 6)) {
    case 0:
        set_full(n, true);
        sim_count(sim, SIM_N_FULL);
        break;
    case 1: set_full(n, false); break;
    case 2:
        if (f->p->rot && !f->rotten && f->w->count >= 3) {
            n->rotten = f->rotten =
                sim_rot(n->env, (enum sim_file)sim_rand(sim, SIM_FILES), &n->rot);
        }
        break;
    default:
        if (f->p->bad_disks) {
            sim_set_disk_rates(n->env, sim_rand(sim, 2) == 0 ? &f->p->disk : &none);
        }
        break;
    }
}

static void clock_fault(const struct faults *f, struct sim_node *n)
{
    struct sim *sim = f->w->sim;
    if (f->p->hours && sim_rand(sim, 3) == 0) {
        sim_set_wall_offset(n->env, sim_rand(sim, 2) == 0 ? 3600000 : -3600000);
        sim_count(sim, SIM_N_CLOCK_HOUR);
    } else if (f->p->clocks) {
        sim_set_wall_offset(n->env, (int64_t)sim_rand(sim, 8000) - 4000);
        sim_count(sim, SIM_N_CLOCK_NEAR);
    }
}

/* Somebody crashes in what the operator has begun. */
static void arm_rare(const struct faults *f)
{
    struct sim *sim = f->w->sim;
    for (size_t i = 0; i < f->w->count && f->p->points; i++) {
        struct sim_node *n = &f->w->nodes[i];
        if (n->running && !sim_is_ghost(n->env) && sim_rand(sim, 3) == 0) {
            sim_crash_at(n->env, rare_point(sim), 1, SIM_POWER_LOSS);
        }
    }
}

static void operator_fault(const struct faults *f, struct sim_node *n)
{
    struct sim *sim = n->w->sim;
    if (!n->running || n->paused || sim_is_ghost(n->env)) {
        return;
    }
    arm_rare(f);
    if (sim_rand(sim, 2) == 0) {
        cluster_snapshot(n->cluster, on_nothing, NULL);
        sim_count(sim, SIM_N_SNAPSHOT);
    } else {
        cluster_transfer(n->cluster, "", on_nothing, NULL);
        sim_count(sim, SIM_N_TRANSFER);
    }
}

static void one_fault(struct faults *f)
{
    struct sim_node *n = world_random(f->w), *m = world_random(f->w);
    if (n->env == NULL) {
        return; /* never started yet: its time comes when it is added */
    }
    switch (sim_rand(f->w->sim, 9)) {
    case 0:
    case 1:
    case 2: process_fault(f, n); break;
    case 3:
    case 4:
        if (f->p->network) {
            network_fault(f, n, m);
        }
        break;
    case 5:
    case 6: disk_fault(f, n); break;
    case 7: clock_fault(f, n); break;
    default: operator_fault(f, n); break;
    }
}

/* ---- Turns
 * --------------------------------------------------------------------------------------- */

void faults_begin(struct faults *f, struct sim_world *w, const struct plan *p)
{
    *f = (struct faults){ .w = w, .p = p, .members = { .w = w } };
    sim_set_messages(w->sim, &p->messages);
    for (unsigned i = 0; i < w->founders; i++) {
        faults_start(f, &w->nodes[i]);
    }
}

void faults_turn(struct faults *f)
{
    struct sim_world *w = f->w;
    world_bury_failed(w);
    struct sim_node *n = world_random(w);
    if (f->p->points && n->running && !n->paused && !sim_is_ghost(n->env) &&
        !sim_crash_armed(n->env) && sim_rand(w->sim, 8) == 0) {
        arm_point(n, false);
    } else if (f->p->points && !n->running && n->env != NULL && sim_rand(w->sim, 20) == 0) {
        faults_start(f, n); /* who crashes often has to rise often */
    }
    if (f->flap[0] != NULL && sim_rand(w->sim, 3) == 0) {
        f->flap_open = !f->flap_open;
        sim_block(w->sim, f->flap[0]->address, f->flap[1]->address, !f->flap_open);
        sim_block(w->sim, f->flap[1]->address, f->flap[0]->address, !f->flap_open);
    }
    if (f->p->rate != 0 && sim_rand(w->sim, f->p->rate) == 0) {
        one_fault(f);
        world_bury_failed(w);
    }
    if (f->p->members && w->commits > 0) {
        members_turn(&f->members, sim_rand(w->sim, 30) == 0);
    }
    if (world_running(w) == 0) {
        n = &w->nodes[sim_rand(w->sim, w->founders)];
        world_resume(n);
        if (!n->running) {
            faults_start(f, n);
        }
    }
}

/* ---- Healing
 * --------------------------------------------------------------------------------------- */

static void mend(struct faults *f, struct sim_node *n)
{
    struct sim_disk_rates none = { 0 };
    if (n->env != NULL) {
        sim_fail_at(n->env, SIM_ANY_OP, 0, SIM_FAIL_IO);
        sim_crash_at(n->env, 0, 0, SIM_KILL);
        sim_set_disk_rates(n->env, &none);
        set_full(n, false);
        sim_set_wall_offset(n->env, 0);
    }
    if (n->rotten) {
        sim_unrot(f->w->sim, n->address, &n->rot);
    }
    n->rotten = false;
    world_resume(n);
    if (!n->running && n->env != NULL) {
        world_start(n);
    }
}

static void calm_network(struct faults *f)
{
    struct sim_network fast = { 50, 400, 0, 25 };
    struct sim_messages none = { 0 };
    f->flap[0] = NULL;
    sim_heal(f->w->sim);
    sim_set_network(f->w->sim, &fast);
    sim_set_messages(f->w->sim, &none);
}

void faults_heal_core(struct faults *f)
{
    struct sim_world *w = f->w;
    unsigned first = (unsigned)sim_rand(w->sim, w->count), core = w->count / 2 + 1;
    calm_network(f);
    world_bury_failed(w);
    for (unsigned i = 0; i < w->count; i++) {
        struct sim_node *n = &w->nodes[(first + i) % w->count];
        if (i < core) {
            mend(f, n);
        } else if (sim_rand(w->sim, 2) == 0) {
            world_crash(n, SIM_POWER_LOSS);
        } else {
            sim_isolate(w->sim, n->address);
        }
    }
}

void faults_heal(struct faults *f)
{
    calm_network(f);
    world_bury_failed(f->w);
    for (unsigned i = 0; i < f->w->count; i++) {
        mend(f, &f->w->nodes[i]);
    }
    f->rotten = false;
}
