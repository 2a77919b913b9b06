/* `usher recover DATADIR [OTHER...]`: after the loss of a majority, guided.
 *
 *   look at every directory -> ask every other member's address -> say what is kept, what is
 *   lost, what happens -> ask -> rewrite DATADIR's membership to this node alone
 *
 * OTHERs are data directories of other members that survive (copies, mounted disks): only
 * looked at, to find the newest log. It refuses where going on would harm: a node runs on a
 * directory, DATADIR is damaged or not the newest, enough members answer to go on without
 * this, or any member still runs (it would go on as a part of the old cluster).
 *
 * Exit status: 0 done, 1 refused (nothing was changed), 2 usage. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cluster/recover.h"
#include "console/backup.h"
#include "console/client.h"
#include "console/console.h"
#include "console/offline.h"
#include "console/render.h"
#include "policy/json_text.h"

#define DIRS_MAX  CLUSTER_MEMBERS_MAX
#define ASK_MS    3000
#define TIME_TEXT 32

struct recovery {
    struct offline *o;
    const struct recover_options *options;
    struct recover_facts *facts; /* of each directory; [0] is the one to recover */
    size_t count;
};

static void time_text(uint64_t ms, char out[TIME_TEXT])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (ms == 0 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        (void)snprintf(out, TIME_TEXT, "never");
    }
}

/* ---- What the directories say --------------------------------------------------------------- */

static int look(struct recovery *r, struct error *e)
{
    for (size_t i = 0; i < r->count; i++) {
        int rc = recover_look(r->o->env, r->options->dirs[i], &r->facts[i], e);
        if (rc != 0) {
            error_prefix(e, "%s", r->options->dirs[i]);
            return rc;
        }
        char when[TIME_TEXT];
        time_text(r->facts[i].time_ms, when);
        (void)printf("%s: node %s, last entry %" PRIu64 " of term %" PRIu64 ", state of %s\n",
                     r->options->dirs[i], r->facts[i].address, r->facts[i].last_index,
                     r->facts[i].last_term, when);
    }
    return 0;
}

static int compare(const struct recovery *r, struct error *e)
{
    const struct recover_facts *chosen = &r->facts[0];
    size_t newest = 0;
    for (size_t i = 1; i < r->count; i++) {
        const struct recover_facts *f = &r->facts[i];
        if (f->cluster_id != chosen->cluster_id) {
            error_set(e, ERR_BADARG, "%s is of another cluster than %s", r->options->dirs[i],
                      r->options->dirs[0]);
            error_hint(e, "give directories of one cluster only");
            return ERR_BADARG;
        }
        if (f->node_id == chosen->node_id) {
            error_set(e, ERR_BADARG, "%s and %s are the same node's", r->options->dirs[i],
                      r->options->dirs[0]);
            return ERR_BADARG;
        }
        newest = recover_compare(f, &r->facts[newest]) > 0 ? i : newest;
    }
    if (newest != 0) {
        error_set(e, ERR_CONFLICT,
                  "%s is not the newest: entries %" PRIu64 " to %" PRIu64 " that %s has would be "
                  "lost",
                  r->options->dirs[0], chosen->last_index + 1, r->facts[newest].last_index,
                  r->options->dirs[newest]);
        error_hint(e, "recover the newest one: usher recover %s %s", r->options->dirs[newest],
                   r->options->dirs[0]);
        return ERR_CONFLICT;
    }
    return 0;
}

/* ---- What the addresses say ------------------------------------------------------------------ */

enum answer { ANSWER_NONE, ANSWER_SILENT, ANSWER_MEMBER, ANSWER_OTHER };

/* A string or an integer of the object's top level. */
static bool field(struct span json, const char *key, char *text, size_t cap, int64_t *number)
{
    struct json_scan s;
    json_scan_init(&s, json);
    bool found = false, mine = false;
    for (enum json_token t = json_next(&s); t != JSON_FAILED && t != JSON_DONE && !found;
         t = json_next(&s)) {
        if (t == JSON_KEY && s.depth == 1) {
            mine = span_is(s.text, key);
        } else if (mine && s.depth == 1) {
            found = t == JSON_STRING || t == JSON_INT;
            if (t == JSON_STRING && text != NULL) {
                (void)snprintf(text, cap, "%.*s", (int)s.text.len, s.text.data);
            } else if (t == JSON_INT && number != NULL) {
                *number = s.integer;
            }
            mine = false;
        }
    }
    json_scan_free(&s);
    return found;
}

/* The status of the node there; an error when it does not tell. */
static int status_of(const struct recovery *r, const char *address, struct buf *json,
                     struct error *e)
{
    const char *const addresses[] = { address, NULL };
    const struct client_options co = { .addresses = addresses,
                                       .user = r->options->user,
                                       .password = r->options->password,
                                       .timeout_ms = ASK_MS };
    struct client *c = NULL;
    const struct span words[] = { span_of("status") };
    int rc = client_open(&co, &c, e);
    if (rc == 0) {
        rc = client_call(c, 1, words, json, e);
        client_close(c);
    }
    return rc;
}

/* Who is there? Only an address where nothing listens counts as nobody: a node that does not
 * tell (it wants a password, or does not know ours), or that is paused, may be the member, and
 * two majorities would be the end. */
static enum answer ask(const struct recovery *r, const struct recover_member *m, int64_t *last)
{
    struct error e = { 0 };
    struct buf json = BUF_INIT;
    char id[32] = "", cluster[32] = "", mine[32], theirs[32];
    if (!client_listens(m->address)) {
        return ANSWER_NONE;
    }
    int rc = status_of(r, m->address, &json, &e);
    struct span text = span_make((const char *)json.data, json.len);
    bool told = rc == 0 && field(text, "id", id, sizeof id, NULL) &&
                field(text, "cluster", cluster, sizeof cluster, NULL);
    (void)field(text, "last", NULL, 0, last);
    buf_free(&json);
    (void)snprintf(mine, sizeof mine, "%016" PRIx64, r->facts[0].cluster_id);
    (void)snprintf(theirs, sizeof theirs, "%016" PRIx64, m->node_id);
    if (rc == ERR_UNREACHABLE || rc == ERR_UNKNOWN) {
        return ANSWER_SILENT;
    }
    return !told || (strcmp(id, theirs) == 0 && strcmp(cluster, mine) == 0) ? ANSWER_MEMBER
                                                                            : ANSWER_OTHER;
}

static const char *answer_text(enum answer a)
{
    switch (a) {
    case ANSWER_NONE: return "does not answer";
    case ANSWER_SILENT: return "takes connections and does not answer: it counts as running";
    case ANSWER_MEMBER: return "runs, as a member of this cluster";
    default: return "answers, but has another or an empty data directory";
    }
}

static int check_running(const struct recovery *r, struct error *e)
{
    const struct recover_facts *f = &r->facts[0];
    unsigned voters = 0, running = 0;
    char first[ADDRESS_BYTES_MAX + 1] = "";
    bool self_votes = false;
    for (unsigned i = 0; i < f->members_count; i++) {
        const struct recover_member *m = &f->members[i];
        int64_t last = 0;
        if (m->self) {
            self_votes = m->voter;
            continue;
        }
        enum answer a = ask(r, m, &last);
        (void)printf("%s: %s\n", m->address, answer_text(a));
        if (a == ANSWER_MEMBER || a == ANSWER_SILENT) {
            running++;
            voters += m->voter;
            (void)snprintf(first, sizeof first, "%s", m->address);
        }
    }
    if (voters + self_votes >= f->quorum) {
        error_set(e, ERR_CONFLICT,
                  "the majority is not lost: %u other voters of %u run, and %u are enough", voters,
                  f->voters, f->quorum);
        error_hint(e, "start this node as always (usher node --id N); if it is broken, replace it: "
                      "usher replace-node");
        return ERR_CONFLICT;
    }
    if (running > 0) {
        error_set(e, ERR_CONFLICT, "%s still runs as a member of the old cluster", first);
        error_hint(e, "stop it first, and give its directory here too if it can be read: the node "
                      "with the newest log is the one to recover");
        return ERR_CONFLICT;
    }
    return 0;
}

/* ---- Telling and asking ------------------------------------------------------------------------
 */

static void tell(const struct recovery *r)
{
    const struct recover_facts *f = &r->facts[0];
    char when[TIME_TEXT];
    unsigned seen = 0;
    time_text(f->time_ms, when);
    for (unsigned i = 0; i < f->members_count; i++) {
        bool here = false;
        for (size_t k = 0; k < r->count && f->members[i].voter; k++) {
            here = here || r->facts[k].node_id == f->members[i].node_id;
        }
        seen += here;
    }
    (void)printf("\nKept: everything up to entry %" PRIu64 " (%s): %" PRIu64 " events, %" PRIu64
                 " live and %" PRIu64 " ended orders.\n",
                 f->last_index, when, f->stats.events, f->stats.orders_live, f->stats.orders_ended);
    if (seen >= f->quorum) {
        (void)printf("Lost: nothing that was acknowledged; %u of %u voters' logs were compared.\n",
                     seen, f->voters);
    } else {
        (void)printf("Lost: entries from %" PRIu64 " on, if the %u voters whose data is not here "
                     "had any: bookings acknowledged after %s.\n",
                     f->last_index + 1, f->voters - seen, when);
    }
    (void)printf("Then: %s is a cluster of its own, with a new cluster id. The other members' "
                 "directories can never join it again: empty them before `usher add-node`.\n",
                 f->address);
    (void)fflush(stdout);
}

static int confirm(const struct recovery *r, struct error *e)
{
    char answer[32] = "";
    if (r->options->yes) {
        return 0;
    }
    if (isatty(STDIN_FILENO) != 1) {
        error_set(e, ERR_CANCELED, "nothing was changed: nobody is here to say yes");
        error_hint(e, "read what is written above, then add --yes");
        return ERR_CANCELED;
    }
    (void)printf("Go on? Type yes: ");
    (void)fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) == NULL || strcmp(answer, "yes\n") != 0) {
        return error_set(e, ERR_CANCELED, "left; nothing was changed");
    }
    return 0;
}

static int rewrite(struct recovery *r, struct error *e)
{
    struct recover_result result;
    bool pending = false;
    int rc = recover_write(r->o->env, r->options->dirs[0], &r->facts[0], &result, offline_done,
                           r->o, &pending, e);
    if (pending) {
        offline_run(r->o);
    }
    if (rc == 0 && result.status != 0) {
        *e = result.error;
        rc = result.status;
    }
    if (rc == 0) {
        (void)printf("Done: node %s leads cluster %016" PRIx64 " alone once it is started. Start "
                     "it, look at it (`usher status --at %s`), then for each other address, with "
                     "an empty data directory: usher add-node ADDR --at %s\n",
                     r->facts[0].address, result.cluster_id, r->facts[0].address,
                     r->facts[0].address);
    }
    return rc;
}

static int recover(struct recovery *r, struct error *e)
{
    int rc = look(r, e);
    rc = rc != 0 ? rc : compare(r, e);
    rc = rc != 0 ? rc : check_running(r, e);
    if (rc == 0) {
        tell(r);
    }
    rc = rc != 0 ? rc : confirm(r, e);
    return rc != 0 ? rc : rewrite(r, e);
}

int recover_main(const struct recover_options *options)
{
    struct offline o;
    struct error e = { 0 };
    struct recovery r = { .o = &o, .options = options };
    while (options->dirs[r.count] != NULL) {
        r.count++;
    }
    if (r.count == 0 || r.count > DIRS_MAX) {
        (void)fprintf(stderr, "usher: recover takes the data directory of a stopped node\n\n"
                              "usher recover DATADIR [OTHER-DATADIR...] [--yes]\n");
        return EXIT_USAGE;
    }
    int rc = offline_open(&o, &e);
    if (rc == 0) {
        r.facts = mem_must_alloc(r.count * sizeof *r.facts);
        rc = recover(&r, &e);
        mem_free(r.facts);
        offline_close(&o);
    }
    if (rc != 0) {
        (void)fflush(stdout);
        render_error(&e, span_make("", 0));
    }
    return rc != 0 ? EXIT_REFUSED : EXIT_DONE;
}
