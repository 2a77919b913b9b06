--- What `./dev mutate --sim` plants in the code for the simulator to find: mutants of
--- tests/mutants.lua by their names, and some of its own in the same form (name, breaks, file,
--- from, to).
return {
    known = {
        -- docs/engine.md, traps 1 and 2
        "change-not-first", "sole-voter-keeps-term", "left-alone-keeps-term",
        -- journal
        "log-not-synced", "vote-not-synced", "segment-name-not-synced", "failed-sync-ignored",
        -- cluster
        "vote-after-message", "cut-append-vouches", "read-without-round", "speculation-kept",
        "ready-too-early", "majority-founds",
        -- service
        "answer-before-commit", "refusal-on-speculation", "forwarded-anew", "local-read-speculates",
        -- store
        "undo-record-dropped", "undo-in-wrong-order", "confirmed-late", "seat-sold-twice",
        "results-not-in-snapshot", "snapshot-of-speculation", "snapshot-without-barrier",
    },
    {
        name = "snapshot-resent", breaks = "a follower that gets a snapshot is left in peace (engine, trap 3)",
        file = "src/cluster/receive.c",
        from = "if (m->append_entries_result.rejected > 0 && p->send != NULL) { /* R2 */",
        to = "if (m->append_entries_result.rejected > 0 && p->send == NULL && p->up && !p->up) {",
    },
    {
        name = "read-stale-after-pause", breaks = "a read is answered at or after the commit index at its arrival",
        file = "src/cluster/reads.c",
        from = "w->index = c->ready ? c->commit : w->last_index;", to = "w->index = w->round = 0;",
    },
    {
        name = "request-id-forgotten", breaks = "a request id has one effect",
        file = "src/store/results.c",
        from = "    const struct result_entry *r = result_find(s, key);\n    if (r == NULL) {",
        to = "    const struct result_entry *r = result_find(s, key);\n    if (r == NULL || request.len > 2) {",
    },
    {
        name = "limit-ignored", breaks = "a customer has no more places than the policy allows",
        file = "lua/usher/rules/limits.lua",
        from = "if has + wants <= n or wants == 0 then return true end",
        to = "if has <= n or wants == 0 then return true end",
    },
}
