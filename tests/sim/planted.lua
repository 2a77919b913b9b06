--- What `./dev mutate --sim` plants in the code for the simulator to find: mutants of
--- tests/mutants.lua by their names, and some of its own in the same form (name, breaks, file,
--- from, to).
return {
    known = {
        -- docs/engine.md, traps 1, 2, 3 and 15
        "change-not-first", "sole-voter-keeps-term", "rejection-in-transfer", "late-rejection-believed",
        -- journal
        "log-not-synced", "direct-write-not-synced", "block-read-again", "part-of-block-written",
        "vote-not-synced", "segment-name-not-synced",
        -- cluster
        "vote-after-message", "cut-append-vouches", "read-without-round", "speculation-kept",
        "ready-too-early", "majority-founds",
        -- service
        "answer-before-commit", "refusal-on-speculation", "local-read-speculates",
        -- store
        "undo-in-wrong-order", "seat-sold-twice",
        "results-not-in-snapshot", "snapshot-of-speculation",
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
