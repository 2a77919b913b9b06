/* The sums of a run, as text: what was run, what was done to it, where it was crashed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim_frames.h"
#include "sim_run.h"

/* Every total but the maximum and the first failed seed is a sum of words. */
void totals_add(struct totals *to, const struct totals *from)
{
    uint64_t max = to->heal_ms_max > from->heal_ms_max ? to->heal_ms_max : from->heal_ms_max;
    uint64_t first = to->first_failed;
    if (first == 0 || (from->first_failed != 0 && from->first_failed < first)) {
        first = from->first_failed;
    }
    uint64_t *a = (uint64_t *)(void *)to;
    const uint64_t *b = (const uint64_t *)(const void *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++) {
        a[i] += b[i];
    }
    to->heal_ms_max = max;
    to->first_failed = first;
}

static void report_points(const struct totals *t)
{
    unsigned named = 0, often = 0;
    printf("\n%-36s %12s %8s\n", "crash point", "passed", "crashed");
    for (unsigned i = 0; i < SIM_POINTS; i++) {
        char name[64];
        if (frames_point_name(i, name) == NULL || t->passed[i] == 0) {
            continue;
        }
        named++;
        often += t->crashed[i] >= 20;
        printf("%-36s %12" PRIu64 " %8" PRIu64 "\n", name, t->passed[i], t->crashed[i]);
    }
    printf("%u crash points are on the way of the code, %u were hit 20 times or more\n", named,
           often);
}

void report(const struct totals *t, uint64_t wall_ms, unsigned jobs, bool table)
{
    const struct clients_numbers *c = &t->clients;
    double cpu_s = (double)t->cpu_us / 1e6, hours = (double)t->simulated_ms / 3.6e6;
    if (table) {
        printf("%-44s %12s\n", "fault", "count");
        for (unsigned i = 0; i < SIM_COUNTS; i++) {
            printf("%-44s %12" PRIu64 "\n", sim_count_text((enum sim_count)i), t->counts[i]);
        }
        report_points(t);
        printf("\nclusters of");
        for (unsigned i = 1; i <= WORLD_NODES_MAX; i++) {
            if (t->by_nodes[i] > 0) {
                printf(" %u: %" PRIu64 " (%.1f h)", i, t->by_nodes[i],
                       (double)t->ms_by_nodes[i] / 3.6e6);
            }
        }
        printf("\n");
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " run twice with the same trace\n", t->seeds, t->twice);
    printf("%" PRIu64 " granted, %" PRIu64 " refused (%" PRIu64 " expired), %" PRIu64
           " linearizable and %" PRIu64 " local reads; %" PRIu64 " sendings, %" PRIu64
           " of them twins\n",
           c->granted, c->refused, c->expired, c->reads, c->local_reads, c->sends, c->twins);
    printf("%" PRIu64 " entries replayed, %" PRIu64 " commits on nodes; %" PRIu64
           " seat histories searched, %" PRIu64 " undecided\n",
           c->entries, t->commits, c->seats_searched, c->seats_undecided);
    printf("healed %" PRIu64 " times, serving after %.1f s on average and %.1f s at most\n",
           t->heals, t->heals > 0 ? (double)t->heal_ms_sum / 1e3 / (double)t->heals : 0.0,
           (double)t->heal_ms_max / 1e3);
    printf("%.1f simulated hours (%.5f years), %.1f of them quiet, in %.0f s with %u jobs: "
           "%.2f simulated hours per CPU second\n",
           hours, hours / 8766, (double)t->quiet_ms / 3.6e6, (double)wall_ms / 1e3, jobs,
           cpu_s > 0 ? hours / cpu_s : 0.0);
    printf("%" PRIu64 " seeds with violations\n", t->failed);
}
