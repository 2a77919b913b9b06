/* What was done to the nodes, counted, and the named places where they can be made to
 * crash. A file point's name says what the code was about to do, e.g. "log write torn",
 * "vote sync before", "snapshot rename after": the kind of file follows from its name in
 * the data directory, a directory's sync counts for the kind whose name it makes durable.
 * The names stand at the env's boundary, so that release builds carry nothing of it and a
 * point can neither be forgotten nor drift from the code. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "env_sim_disk.h"

const char *sim_count_text(enum sim_count what)
{
    static const char *const texts[] = {
#define X(id, text) text,
        SIM_COUNT_MAP(X)
#undef X
    };
    return texts[what];
}

void sim_count(struct sim *sim, enum sim_count what) { sim->counts[what]++; }
uint64_t sim_counted(const struct sim *sim, enum sim_count what) { return sim->counts[what]; }

enum sim_file file_kind(const char *path)
{
    static const struct {
        const char *prefix;
        enum sim_file kind;
    } kinds[] = { { "identity", FILE_IDENTITY },
                  { "vote", FILE_VOTE },
                  { "mark", FILE_MARK },
                  { "log", FILE_LOG },
                  { "snapshot", FILE_SNAPSHOT } };
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
            return kinds[i].kind;
        }
    }
    return FILE_LOCK;
}

unsigned sim_file_point(enum sim_file file, enum sim_act act, enum sim_phase phase)
{
    return ((unsigned)file * SIM_ACTS + (unsigned)act) * SIM_PHASES + (unsigned)phase;
}

enum sim_file sim_point_file(unsigned point)
{
    return (enum sim_file)(point / SIM_PHASES / SIM_ACTS);
}

enum sim_act sim_point_act(unsigned point) { return (enum sim_act)(point / SIM_PHASES % SIM_ACTS); }

unsigned sim_message_point(unsigned message, bool receive, bool after)
{
    ASSERT(message < SIM_MESSAGES_MAX);
    return SIM_FILE_POINTS + message * 4 + (receive ? 2u : 0u) + (after ? 1u : 0u);
}

const char *sim_file_point_name(unsigned point, char out[64])
{
    static const char *const files[] = { "lock", "identity", "vote", "mark", "log", "snapshot" };
    static const char *const acts[] = { "create",    "allocate", "write",  "sync",
                                        "sync name", "truncate", "rename", "remove" };
    static const char *const phases[] = { "before", "torn", "after" };
    (void)snprintf(out, 64, "%s %s %s", files[sim_point_file(point)], acts[sim_point_act(point)],
                   phases[point % SIM_PHASES]);
    return out;
}

void sim_crash_at(struct env *env, unsigned point, uint64_t n, enum sim_crash how)
{
    struct host *h = ((struct node *)env)->host;
    h->point = point;
    h->point_in = n;
    h->point_how = how;
}

bool sim_crash_armed(const struct env *env)
{
    return ((const struct node *)env)->host->point_in > 0;
}

void sim_points_off(struct sim *sim, bool off) { sim->points_off = off; }

bool sim_point(struct env *env, unsigned point)
{
    struct node *n = (struct node *)env;
    struct host *h = n->host;
    if (n->ghost || n->sim->points_off) {
        return false;
    }
    n->sim->points_passed[point]++;
    if (h->point_in == 0 || h->point != point || --h->point_in > 0) {
        return false;
    }
    n->sim->points_crashed[point]++;
    sim_trace(n->sim, n, "crash point", point, 0);
    sim_crash(env, h->point_how);
    return true;
}

uint64_t sim_point_passed(const struct sim *sim, unsigned point)
{
    return sim->points_passed[point];
}

uint64_t sim_point_crashed(const struct sim *sim, unsigned point)
{
    return sim->points_crashed[point];
}

/* ---- Rot -------------------------------------------------------------------------------- */

/* The end of what may be damaged so that the journal owes to notice it. */
uint64_t rot_limit(const struct inode *i, enum sim_file kind)
{
    return kind == FILE_LOG ? i->proof_at : i->cache.size;
}

void flip_both(struct inode *i, uint64_t byte, unsigned bit)
{
    struct bytes *both[2] = { &i->cache, &i->durable };
    for (int k = 0; k < 2; k++) {
        uint8_t value = 0;
        if (bytes_read(both[k], byte, &value, 1) == 1) {
            value ^= (uint8_t)(1u << (bit & 7));
            bytes_write(both[k], byte, &value, 1);
        }
    }
}

static bool is_being_written(const struct inode *i, uint64_t byte)
{
    for (const struct pending *p = i->pending; p != NULL; p = p->next) {
        if (!p->resize && p->at <= byte && byte < p->at + p->len) {
            return true;
        }
    }
    return false;
}

bool sim_rot(struct env *env, enum sim_file kind, struct sim_rot *out)
{
    struct node *n = (struct node *)env;
    struct disk *d = n->host->disk;
    struct sim *sim = n->sim;
    struct name *chosen = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; i < d->names_count; i++) {
        struct name *name = d->names[i];
        if (name->cache != NULL && !name->cache->dir && file_kind(name->path) == kind &&
            rot_limit(name->cache, kind) > 0 && rand_below(&sim->random, ++seen) == 0) {
            chosen = name;
        }
    }
    if (chosen == NULL || strlen(chosen->path) >= sizeof out->path) {
        return false;
    }
    out->byte = rand_below(&sim->random, rot_limit(chosen->cache, kind));
    out->bit = (unsigned)rand_below(&sim->random, 8);
    if (is_being_written(chosen->cache, out->byte)) {
        return false; /* it is about to be put right */
    }
    (void)snprintf(out->path, sizeof out->path, "%s", chosen->path);
    flip_both(chosen->cache, out->byte, out->bit);
    (void)bytes_read(&chosen->cache->cache, out->byte, &out->flipped, 1);
    sim_count(sim, SIM_N_ROT);
    n->host->disk_faults++;
    sim_trace(sim, n, "rot", out->byte, out->bit);
    return true;
}

void sim_unrot(struct sim *sim, const char *address, const struct sim_rot *rot)
{
    struct disk *d = sim_host(sim, address)->disk;
    const struct name *name = name_get(d, path_clean(rot->path));
    if (name->cache == NULL) {
        return;
    }
    /* The log's last block is written again with the right bytes: then it has been mended, or
     * its cached copy, already. */
    struct bytes *both[2] = { &name->cache->cache, &name->cache->durable };
    for (int k = 0; k < 2; k++) {
        uint8_t now = 0;
        if (bytes_read(both[k], rot->byte, &now, 1) == 1 && now == rot->flipped) {
            now ^= (uint8_t)(1u << (rot->bit & 7));
            bytes_write(both[k], rot->byte, &now, 1);
        }
    }
}

void sim_set_disk_rates(struct env *env, const struct sim_disk_rates *r)
{
    ((struct node *)env)->host->rates = *r;
}

uint64_t sim_disk_faults(const struct env *env)
{
    return ((const struct node *)env)->host->disk_faults;
}
