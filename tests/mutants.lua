--- What `./dev mutate` breaks, one at a time. Each entry: name; breaks, the promise that the change
--- breaks; file; from, the exact text that stands there once; to; test, a C test program (or spec,
--- a busted file) and case, the test in it that must fail; seconds, how long it may take.
---
--- When code moves, mend `from` so that the same promise is broken; never drop an entry because the
--- text is gone.
return {
    -- ---- Journal: what is acknowledged is on disk ---------------------------------
    {
        name = "log-not-synced", breaks = "entries are acknowledged after they are durable",
        file = "src/raftio/journal_segment.c",
        from = "    rc = rc != 0 ? rc : ops->file_sync(w->file, e);\n", to = "",
        test = "test_journal_crash", case = "test_random_lives",
    },
    {
        name = "direct-write-not-synced", breaks = "the same for small writes, where the env has nothing better",
        file = "src/raftio/journal.c",
        from = "    w->status = rc != 0 ? rc : ops->file_sync(w->file, &w->error);\n", to = "    w->status = rc;\n",
        test = "test_journal_crash", case = "test_random_lives",
    },
    {
        name = "asynchronous-write-not-synced", breaks = "the same where the kernel writes by itself",
        file = "src/raftio/env_uv_write.c",
        from = "RWF_DSYNC | RWF_NOWAIT", to = "RWF_NOWAIT",
        spec = "spec/functional/disk_spec.lua", case = "sync EIO log-", seconds = 300,
    },
    {
        name = "failed-direct-write-ignored", breaks = "a failed write ends the journal, nothing is acknowledged",
        file = "src/raftio/journal.c",
        from = "    j->write.status = j->direct.status;\n", to = "    j->write.status = 0;\n",
        test = "test_journal_crash", case = "test_every_operation_fails",
    },
    {
        name = "block-begun-anew", breaks = "a block that is written again has the same bytes in front",
        file = "src/raftio/journal_segment.c",
        from = "        memcpy(last, w->range.data + w->range.len - keep, keep);",
        to = "        memset(last, 0, keep);",
        test = "test_journal", case = "test_direct_writes",
    },
    {
        name = "block-not-read", breaks = "the same after a restart",
        file = "src/raftio/journal_segment.c",
        from = "buf_put(&w->range, segment + (w->offset - before), before);",
        to = "static const uint8_t zeros[ENV_BLOCK_BYTES];\n" ..
            "        buf_put(&w->range, zeros, before + 0 * (size_t)segment[0]);",
        test = "test_journal", case = "test_direct_writes",
    },
    {
        name = "block-read-again", breaks = "only checked bytes are written again",
        file = "src/raftio/journal_segment.c",
        from = "        buf_put(&w->range, segment + (w->offset - before), before);\n",
        to = "        size_t got;\n        uint8_t again[ENV_BLOCK_BYTES];\n        (void)segment;\n" ..
            "        (void)w->env->ops->file_read(w->file, w->offset - before, again, before, &got, e);\n" ..
            "        buf_put(&w->range, again, before);\n",
        test = "test_journal", case = "test_direct_writes",
    },
    {
        name = "part-of-block-written", breaks = "what stands before the new records is not read again",
        file = "src/raftio/journal_segment.c",
        from = "ops->file_write(w->file, range_begin(w), w->range.data, len, e);",
        to = "ops->file_write(w->file, w->range_at, w->range.data + (w->range_at - range_begin(w)),\n" ..
            "                             len - (w->range_at - range_begin(w)), e);",
        test = "test_journal", case = "test_direct_writes",
    },
    {
        name = "vote-not-synced", breaks = "term and vote are durable before they are acknowledged",
        file = "src/raftio/journal_vote.c",
        from = "return rc != 0 ? rc : s->env->ops->file_sync(f, e);", to = "return rc;",
        test = "test_journal_crash", case = "test_random_lives",
    },
    {
        name = "segment-name-not-synced", breaks = "a new log segment's name survives a power loss",
        file = "src/raftio/journal_segment.c",
        from = "    rc = rc != 0 ? rc : ops->sync_dir(env, dir, e);\n", to = "",
        test = "test_journal_crash", case = "test_random_lives",
    },
    {
        name = "failed-sync-ignored", breaks = "a failed sync ends the journal, nothing is acknowledged",
        file = "src/raftio/journal.c",
        from = "j->write.status = rc != 0 ? rc : log_flush(&j->log, e);",
        to = "j->write.status = rc;\n    (void)log_flush(&j->log, e);",
        test = "test_journal_crash", case = "test_every_operation_fails",
    },
    {
        name = "mark-forgotten", breaks = "a log that ends before the durable mark is damage, never cut",
        file = "src/raftio/journal_vote.c",
        from = "            s->mark_now = slot;\n",
        to = "            s->mark_now = (struct slot){ slot.sequence, 0, 0 };\n",
        test = "test_journal_damage", case = "test_lost_end",
    },
    {
        name = "tail-cut-below-evidence",
        breaks = "a bad record that a later one calls durable is damage, never cut",
        file = "src/raftio/journal_replay.c",
        from = "if (proof != 0) {", to = "if (proof != 0 && bad == UINT64_MAX) {",
        test = "test_journal_damage", case = "test_flip_with_old_mark",
    },

    -- ---- Transport: only frames of a proven peer, once, in order --------------------
    {
        name = "frame-without-mac", breaks = "a frame is accepted only with its MAC",
        file = "src/raftio/transport_conn.c",
        from = "if (!crypto_equal(mac, body + body_len, MAC_BYTES)) {",
        to = "if (body_len > FRAME_BYTES_MAX && !crypto_equal(mac, body + body_len, MAC_BYTES)) {",
        test = "test_transport_attack", case = "altered_bytes",
    },
    {
        name = "frame-replayed", breaks = "a frame that was recorded and sent again is refused",
        file = "src/raftio/transport_crypto.c",
        from = "nonce[i] = (uint8_t)(counter >> (8 * i));", to = "nonce[i] = (uint8_t)(counter >> 63);",
        test = "test_transport_attack", case = "repeated_swapped_and_missing_frames",
    },
    {
        name = "dialer-unproven", breaks = "who dials has to prove the cluster's secret",
        file = "src/raftio/transport_handshake.c",
        from = "if (!crypto_equal(proof, body, PROOF_BYTES)) {",
        to = "if (len > HANDSHAKE_BYTES_MAX && !crypto_equal(proof, body, PROOF_BYTES)) {",
        test = "test_transport_attack", case = "replayed_connection",
    },
    {
        name = "cut-at-first-sight", breaks = "a tail is cut only when a second reading says the same",
        file = "src/raftio/journal_load.c",
        from = "s->cut_bytes > 0 ? read_segment(", to = "0 ? read_segment(",
        test = "test_journal_damage", case = "test_read_wrong_once",
    },
    {
        name = "recursion-without-end", breaks = "calls nest 10,000 deep at most",
        file = "src/policy/sandbox.c",
        from = "if (lua_getstack(L, SANDBOX_CALLS_MAX, ar)) {", to = "if (false && lua_getstack(L, 1, ar)) {",
        test = "test_sandbox", case = "test_recursion",
    },

    -- ---- Cluster ----------------------------------------------------------------------
    {
        name = "vote-after-message", breaks = "no message leaves before its term and vote are durable",
        file = "src/cluster/driver.c",
        from = "if (c->outbox == NULL && c->votes_durable == c->votes_asked) {", to = "if (c->outbox == NULL) {",
        test = "test_cluster_order", case = "test_votes_before_messages",
    },
    {
        name = "cut-append-vouches", breaks = "an append that was cut off vouches for no newer entry (D3)",
        file = "src/cluster/driver.c",
        from = "        cut_appends(c, index);\n", to = "        (void)cut_appends;\n",
        test = "test_cluster_cut", case = "test_late_write",
    },
    {
        name = "sole-voter-keeps-term", breaks = "a sole voter starts in a new term (engine, trap 2)",
        file = "src/cluster/driver_start.c",
        from = "    *term += 1;\n", to = "",
        test = "test_founding", case = "test_single", seconds = 600,
    },
    {
        name = "left-alone-keeps-term", breaks = "a follower left as sole voter leads in a new term (trap 2)",
        file = "src/cluster/driver.c",
        from = "m.request_vote.term = raft_current_term(&c->raft) + 1;",
        to = "m.request_vote.term = raft_current_term(&c->raft);",
        test = "test_cluster_change", case = "test_left_alone",
    },
    {
        name = "change-not-first", breaks = "a CHANGE is the first entry the core is given (engine, trap 1)",
        file = "src/cluster/message.c",
        from = "while (k < a->n_entries && a->entries[k].type != RAFT_CHANGE) {",
        to = "while (k < a->n_entries) {",
        test = "test_cluster_change", case = "test_change_behind_commands",
    },
    {
        name = "read-without-round", breaks = "a linearizable read proves leadership by a majority's echoes",
        file = "src/cluster/reads.c",
        from = "bool proved = c->round_open && round_proved(c);", to = "bool proved = c->round_open;",
        test = "test_service", case = "test_isolated_leader",
    },
    {
        name = "read-by-old-round", breaks = "echoes of a round begun before the read prove nothing",
        file = "src/cluster/reads.c",
        from = "w->round = c->round + 1;", to = "w->round = c->round;",
        test = "test_cluster_order", case = "test_old_echoes_prove_nothing",
    },
    {
        name = "speculation-kept", breaks = "who leads no more undoes its speculation",
        file = "src/cluster/propose.c",
        from = "    store_undo_all(c->store);\n", to = "",
        test = "test_service", case = "test_isolated_leader",
    },
    {
        name = "digest-not-compared", breaks = "an entry is applied only on the state it was computed on",
        file = "src/store/entry.c",
        from = "if (head.digest_before != store_digest(s)) {",
        to = "if (head.digest_before != store_digest(s) && len == 0) {",
        test = "test_store_undo", case = "test_tamper",
    },
    {
        name = "ready-too-early", breaks = "a new leader evaluates only after applying its whole log",
        file = "src/cluster/propose.c",
        from = "c->ready = c->applied == last && log_cache_term(&c->log, last) == c->raft.current_term;",
        to = "c->ready = last > 0;",
        test = "test_service", case = "test_kill_leader",
    },
    {
        name = "majority-founds", breaks = "a majority founds a cluster only with --found",
        file = "src/cluster/founding.c",
        from = "return c->o.found && others + 1 > c->nodes_count / 2 &&",
        to = "return others + 1 > c->nodes_count / 2 &&",
        test = "test_founding", case = "test_late_third_node", seconds = 600,
    },
    {
        name = "rejection-in-transfer", breaks = "a snapshot under way is asked for once, not at every heartbeat",
        file = "src/cluster/receive.c",
        from = "return p->send != NULL ||\n", to = "return (p->send == NULL && c->dead) ||\n",
        test = "test_cluster_order", case = "test_slow_snapshot_is_sent_once",
    },
    {
        name = "late-rejection-believed", breaks = "a rejection of what was acknowledged since is void",
        file = "src/cluster/receive.c",
        from = "            rejected <= match);", to = "            match == UINT64_MAX);",
        test = "test_cluster_order", case = "test_late_rejection",
    },
    {
        name = "newer-snapshot-waits", breaks = "a failed transfer starts over though a newer snapshot was taken",
        file = "src/cluster/receive.c",
        from = "} else if (p->install_index != 0) {", to = "} else if (p->install_index == UINT64_MAX) {",
        test = "test_cluster_order", case = "test_newer_snapshot_while_one_is_sent",
    },
    {
        name = "founder-without-log-mute", breaks = "a founder that has nothing yet votes",
        file = "src/cluster/receive.c",
        from = "conf->n > 0 || log_cache_last", to = "conf->n == 0 || log_cache_last",
        test = "test_founding", case = "test_promised_node_meets_a_changed_cluster",
    },
    {
        name = "failure-not-told", breaks = "what waits for space is told when the journal fails",
        file = "src/raftio/journal.c",
        from = "    pump_later(j); /* what waits for space is told, too */\n", to = "",
        test = "test_journal_crash", case = "test_failure_without_space",
    },
    {
        name = "queue-answered-first", breaks = "what was written is answered before what is given up",
        file = "src/raftio/journal.c",
        from = "if (j->spare_waits && !j->write.running) {", to = "if (j->spare_waits) {",
        test = "test_journal_crash", case = "test_close_without_space",
    },
    {
        name = "another-id-not-told", breaks = "who is refused for the same reason as the one before it is news",
        file = "src/raftio/transport.c",
        from = "if (was_up || id != l->said_id || ", to = "if (was_up || (id != l->said_id && id == 1) || ",
        test = "test_transport", case = "test_refused_under_another_id",
    },
    {
        name = "trickle-waited-for", breaks = "a frame whose bytes only trickle in ends the link",
        file = "src/raftio/transport_conn.c",
        from = "c->in.len < ms * LINK_PACE_BYTES_PER_S / 1000);", to = "c->in.len == 0);",
        test = "test_transport_attack", case = "trickling_frames",
    },
    {
        name = "wiped-disk-admitted", breaks = "a known address with another node id gets no link",
        file = "src/cluster/peers.c",
        from = "if (strcmp(s->address, peer->address) == 0 && s->id != peer->node_id &&\n" ..
            "            peer->cluster_id == 0) {",
        to = "if (s->id == 0) {",
        test = "test_founding", case = "test_wiped_disk", seconds = 600,
    },

    -- ---- Service ------------------------------------------------------------------------
    {
        name = "answer-before-commit", breaks = "an answer leaves after its entry has committed",
        file = "src/service/batch.c",
        from = "groups_push(&s->flight, b->g);", to = "groups_push(&s->ready, b->g);",
        test = "test_service", case = "test_isolated_leader",
    },
    {
        name = "refusal-on-speculation", breaks = "a refusal leaves only when leadership was proved after it",
        file = "src/service/batch.c",
        from = "    groups_push(&s->flight, g);\n    cluster_read(s->cluster, on_round, g);\n",
        to = "    (void)on_round;\n    g->reading = false;\n    groups_push(&s->ready, g);\n",
        test = "test_service", case = "test_isolated_leader",
    },
    {
        name = "request-id-reused", breaks = "a known request id with other arguments is a CONFLICT",
        file = "src/service/batch.c",
        from = "if (known.args_digest == s->call.args_digest) {",
        to = "if (known.args_digest == s->call.args_digest || known.index != 0) {",
        test = "test_service", case = "test_request_ids",
    },
    {
        name = "refusal-not-remembered", breaks = "a refusal with a request id is remembered like a grant",
        file = "src/service/batch.c",
        from = "if (id.len > 0 && is_result(s->answer.code) &&",
        to = "if (id.len > 0 && is_result(s->answer.code) && s->answer.code == 0 &&",
        test = "test_service", case = "test_request_ids",
    },
    {
        name = "forwarded-anew", breaks = "a request is sent again only under the same request id",
        file = "src/service/forward.c",
        from = "        item_make_id(it); /* F1 */\n", to = "        (void)item_make_id;\n",
        test = "test_service", case = "test_lost_answer",
    },
    {
        name = "local-read-speculates", breaks = "local reads show the committed view, on the leader too",
        file = "src/service/read.c",
        from = "    if (!w->open) {\n", to = "    if (!w->open && w->store == NULL) {\n",
        test = "test_service", case = "test_local_read",
    },
    {
        name = "access-ignored", breaks = "a command runs only for users with its access",
        file = "src/service/service.c",
        from = "if (user->access >= def->access) {", to = "if (user->access >= def->access || user->name.len > 0) {",
        test = "test_service", case = "test_malformed",
    },

    -- ---- Store ----------------------------------------------------------------------------
    {
        name = "undo-record-dropped", breaks = "every change of a transaction can be taken back",
        file = "src/store/undo.c",
        from = "    g->records[g->len++] = u;\n",
        to = "    if (u.kind != UNDO_KV) {\n        g->records[g->len++] = u;\n    }\n",
        test = "test_store_undo", case = "test_marks",
    },
    {
        name = "undo-in-wrong-order", breaks = "changes are taken back newest first",
        file = "src/store/undo.c",
        from = "for (unsigned i = s->groups_len; i-- > 0;) {",
        to = "for (unsigned i = 0; i < s->groups_len; i++) {",
        test = "test_snapshot", case = "test_in_flight",
    },
    {
        name = "confirmed-late", breaks = "a hold past its time is never confirmed",
        file = "src/store/do_order.c",
        from = "(o->status == ORDER_HELD && o->expires_ms <= s->time_ms)",
        to = "(o->status == ORDER_HELD && o->expires_ms == 0)",
        test = "test_store", case = "test_hold",
    },
    {
        name = "confirmed-at-its-end", breaks = "a hold is over at its very end",
        file = "src/store/do_order.c",
        from = "(o->status == ORDER_HELD && o->expires_ms <= s->time_ms)",
        to = "(o->status == ORDER_HELD && o->expires_ms < s->time_ms)",
        test = "test_store", case = "test_hold",
    },
    {
        name = "seat-sold-twice", breaks = "a seat has at most one live order",
        file = "src/store/seats.c",
        from = "    if (word != 0 && !own) {", to = "    if (word_status(word) == SEAT_BLOCKED) {\n        (void)own;",
        test = "test_store", case = "test_taken",
    },
    {
        name = "customer-named", breaks = "a refusal never names the other customer",
        file = "src/store/seats.c",
        from = "        return seat_refuse(ev, p->number, word, e);",
        to = [[
        int rc = seat_refuse(ev, p->number, word, e);
        if (e != NULL && word_status(word) != SEAT_BLOCKED) {
            struct span who = order_customer(record_at(s, word & WORD_MASK)->v);
            return error_set(e, rc, "seat %u is taken by %.*s", p->number, (int)who.len, who.data);
        }
        return rc;]],
        test = "test_store", case = "test_taken",
    },
    {
        name = "area-overfull", breaks = "an area ends at its capacity",
        file = "src/store/seats.c",
        from = "(overbook ? (uint64_t)UINT32_MAX / 2 : info.capacity)",
        to = "(overbook || used > 0 ? (uint64_t)UINT32_MAX / 2 : info.capacity)",
        test = "test_store", case = "test_areas",
    },
    {
        name = "results-not-in-snapshot", breaks = "remembered results survive a snapshot",
        file = "src/store/snapshot_write.c",
        from = "    n->results_end = s->results.tail;\n", to = "    n->results_end = n->result;\n",
        test = "test_snapshot", case = "test_round_trip",
    },
    {
        name = "snapshot-of-speculation", breaks = "a snapshot holds the committed view only",
        file = "src/store/snapshot_write.c",
        from = "    store_rewind(s);\n    bool ok = begin(n);\n    store_replay(s);\n",
        to = "    bool ok = begin(n);\n",
        test = "test_snapshot", case = "test_in_flight",
    },
    {
        name = "snapshot-without-barrier", breaks = "what changes under a snapshot is written as it was at begin",
        file = "src/store/undo.c",
        from = "        snapshot_barrier(s, &u);\n", to = "        (void)snapshot_barrier;\n",
        test = "test_snapshot", case = "test_writes_meanwhile",
    },

    -- ---- Elections, clocks, turns; clients of one node --------------------------------------
    {
        name = "vote-waits-for-space", breaks = "a vote does not wait behind an append that waits for space",
        file = "src/raftio/journal.c",
        from = "        return take_votes(j);", to = "        return take_votes(j) && false;",
        test = "test_cluster", case = "test_full_follower",
    },
    {
        name = "stuck-follower-keeps-leader", breaks = "who cannot campaign forgets a silent leader all the same",
        file = "src/cluster/receive.c",
        from = "(learner || founder || stuck)", to = "(learner || founder)",
        test = "test_cluster", case = "test_full_follower",
    },
    {
        name = "clock-of-the-sample", breaks = "a clock that was set a moment ago stamps nothing",
        file = "src/cluster/clock.c",
        from = "(int64_t)now_ms(c) - (int64_t)c->env->ops->wall_ms(c->env);",
        to = "(int64_t)p->clock_ms - (int64_t)c->env->ops->wall_ms(c->env) * 0 - p->clock_base_ms;",
        test = "test_cluster", case = "test_clock",
    },
    {
        name = "replay-in-one-turn", breaks = "a long log is replayed in slices, with heartbeats between",
        file = "src/cluster/apply.c",
        from = "            c->apply_waits = true;", to = "            c->apply_waits = false;",
        test = "test_cluster", case = "test_replay_in_slices",
    },
    {
        name = "session-walks-free-slots", breaks = "slots that are free are nobody's",
        file = "src/net/resp/session.c",
        from = "            x = c->head; /* it is written", to = "            x = x->next; /* it is written",
        test = "test_session", case = "test_reset_among_waiting",
    },
    {
        name = "slow-reader-cut-off", breaks = "who takes a long answer slowly is served",
        file = "src/net/resp/conn.c",
        from = "c->stalled_ms != 0 && untaken < c->untaken", to = "c->stalled_ms != 0 && untaken > c->untaken",
        test = "test_resp", case = "test_slow_reader",
    },

    -- ---- Policy VM: scripts cannot get out or hang the node ---------------------------------
    {
        name = "score-acts", breaks = "a score function only looks",
        file = "src/policy/best.c",
        from = "    rules_call(L, 1, 1);\n", to = "    lua_call(L, 1, 1);\n",
        test = "test_policy_best", case = "test_score_is_kept_apart",
    },
    {
        name = "best-unpriced", breaks = "best proposes nothing that has no price",
        file = "src/policy/best.c",
        from = "        rules_try_price(L, ask, seats);\n", to = "        (void)seats;\n        lua_pushnil(L);\n",
        test = "test_policy_best", case = "test_prices",
    },
    {
        name = "budget-swallowed", breaks = "pcall does not swallow the end of the budget",
        file = "src/policy/sandbox.c",
        from = [[
    if (lua_isyieldable(L)) {
        lua_yield(L, 0); /* returns; the interpreter leaves right after the hook */
        return;
    }
    arm(sb, L, 1);
    luaL_error(L, "over budget");
]], to = "",
        test = "test_sandbox", case = "test_loops", seconds = 60,
    },
    {
        name = "bytecode-loaded", breaks = "only text chunks are loaded",
        file = "src/policy/sandbox.c",
        from = [[lua_tostring(L, -1), "t")]], to = [[lua_tostring(L, -1), "bt")]],
        test = "test_sandbox", case = "test_whole_bytecode", seconds = 120,
    },
    {
        name = "finaliser-allowed", breaks = "scripts have no __gc",
        file = "src/policy/sandbox.c",
        from = "if (lua_rawget(L, 2) != LUA_TNIL) {", to = "if (lua_rawget(L, 2) == LUA_TTHREAD) {",
        test = "test_sandbox", case = "test_unstoppable", seconds = 120,
    },
    {
        name = "string-metatable-open", breaks = "nobody gets hold of the strings' metatable",
        file = "src/policy/sandbox.c",
        from = "    lua_pushboolean(L, 0);\n    lua_setfield(L, -2, \"__metatable\");\n    lua_pop(L, 2);\n",
        to = "    lua_pop(L, 2);\n",
        test = "test_sandbox", case = "test_string_metatable", seconds = 120,
    },

    -- ---- Membership ----------------------------------------------------------------
    {
        name = "last-voter-removed", breaks = "the last voter can never be removed",
        file = "src/cluster/member_judge.c",
        from = "if (voters == 1) {", to = "if (voters == 0) {",
        test = "test_member", case = "test_down_to_one",
    },
    {
        name = "quorum-removed", breaks = "a removal never leaves fewer reachable voters than are needed",
        file = "src/cluster/member_judge.c",
        from = "if (left < quorum && !force) {", to = "if (false && left < quorum && !force) {",
        test = "test_member", case = "test_remove_would_lose_quorum",
    },
    {
        name = "address-not-asked", breaks = "nothing is logged before the new node has answered",
        file = "src/cluster/member_judge.c",
        from = "rv = rv != 0 ? rv : probe_new(c, address, &op->node_id, st);",
        to = "rv = rv != 0 ? rv : (probe_new(c, address, &op->node_id, st), 0);",
        test = "test_member_join", case = "test_add_nobody",
    },
    {
        name = "no-deadline", breaks = "a learner that never catches up is dropped when its time is over",
        file = "src/cluster/member_run.c",
        from = "return time > op->deadline_ms || now > c->member_late_ms;", to = "return time > now && false;",
        test = "test_member_join", case = "test_learner_never_catches_up",
    },
    {
        name = "deadline-by-cluster-time", breaks = "an operation ends though cluster time stands still",
        file = "src/cluster/member_run.c",
        from = " || now > c->member_late_ms;", to = " || now == 0;",
        test = "test_member_join", case = "test_learner_while_time_stands",
    },
    {
        name = "learner-kept", breaks = "a learner that no operation is about is dropped",
        file = "src/cluster/member_run.c",
        from = "        drop_learners(c);", to = "        ;",
        test = "test_member_join", case = "test_learner_without_operation",
    },
    {
        name = "leader-removes-itself", breaks = "a leader hands over before it is removed",
        file = "src/cluster/member_run.c",
        from = "} else if (s->id == c->raft.id) {\n        if", to = "} else if (false) {\n        if",
        test = "test_member", case = "test_remove",
    },
    {
        name = "removed-not-told", breaks = "who was removed is told",
        file = "src/cluster/member_told.c",
        from = "if (peer_send(c, p, &b)) {", to = "buf_free(&b);\n    if (false) {",
        test = "test_member", case = "test_remove",
    },
    {
        name = "two-changes", breaks = "one change of the membership at a time",
        file = "src/cluster/member_judge.c",
        from = "    if (op.step != MEMBER_IDLE) {\n        wait_for_other(&op, st);\n        return;\n    }\n", to = "",
        test = "test_member", case = "test_two_at_once",
    },
    {
        name = "newer-identity-refused", breaks = "who was away hears members that were replaced meanwhile",
        file = "src/cluster/peers.c",
        from = "            peer->cluster_id == 0) {", to = "            true) {",
        test = "test_member", case = "test_away_while_others_were_replaced",
    },
    {
        name = "append-right-before-the-log", breaks = "entries that begin right before the log are taken",
        file = "src/cluster/receive.c",
        from = "if (a->prev_log_index >= c->log.first", to = "if (a->prev_log_index + 1 >= c->log.first",
        test = "test_cluster_order", case = "test_append_from_before_the_log",
    },
    {
        name = "index-waits-for-the-tick", breaks = "--min-index waits no longer than it must",
        file = "src/cluster/reads.c",
        from = "    index_waits_run(c);\n    if", to = "    if",
        test = "test_service_session", case = "test_min_index_in_time",
    },
    {
        name = "index-waits-unsorted", breaks = "whoever waits for an earlier index is told earlier",
        file = "src/cluster/index_wait.c",
        from = "    rise(h, h->count++);", to = "    h->count++;",
        test = "test_service_session", case = "test_min_index_order",
    },
    {
        name = "local-reads-too-early", breaks = "a restarted cluster shows what it acknowledged",
        file = "src/cluster/receive.c",
        from = "log_cache_term(&c->log, c->told_commit) == c->told_commit_term", to = "c->told_commit > 0",
        test = "test_cluster", case = "test_local_after_restart",
    },
    {
        name = "nothing-written-names-the-next", breaks = "an answer names an entry that is there",
        file = "src/store/undo.c",
        from = "changes > 0 ? g->index : g->index_before", to = "g->index",
        test = "test_service_session", case = "test_nothing_written",
    },
    {
        name = "nothing-written-names-a-barrier", breaks = "an answer names no entry that maps never name",
        file = "src/store/undo.c",
        from = "changes > 0 ? g->index : g->index_before", to = "changes > 0 ? g->index : g->index - 1",
        test = "test_service_session", case = "test_index_of_barrier",
    },
    {
        name = "slow-timers-tell-as-often", breaks = "housekeeping keeps pace with the heartbeat",
        file = "src/cluster/start.c",
        from = "between(TELL_MS_MIN, c->heartbeat_ms, TELL_MS_MAX)", to = "TELL_MS_MIN",
        test = "test_cluster", case = "test_slow_timers",
    },
    {
        name = "stop-waits-for-a-slow-election", breaks = "a node stops within seconds",
        file = "src/cluster/cluster.c",
        from = "(c->election_ms < HANDOVER_MS_MAX ? c->election_ms : HANDOVER_MS_MAX)",
        to = "c->election_ms",
        test = "test_cluster", case = "test_slow_stop",
    },
    {
        name = "index-of-the-future", breaks = "no answer names an index that has not come",
        file = "src/policy/render.c",
        from = "    if (future) {", to = "    if (false) {",
        test = "test_policy", case = "test_index_of_answer",
    },
    {
        name = "own-write-unseen", breaks = "a session reads its own writes",
        file = "src/service/read.c",
        from = "    return *seen;", to = "    return 0;",
        test = "test_service_session", case = "test_own_writes",
    },
    {
        name = "refused-snapshot-sent-at-once", breaks = "a snapshot that was refused is sent again after a pause",
        file = "src/cluster/snapshot_send.c",
        from = "now_ms(c) < p->send_again_ms", to = "p->send_again_ms == UINT64_MAX",
        test = "test_cluster_order", case = "test_refused_snapshot_is_sent_after_a_pause",
    },
    {
        name = "new-link-waits-for-a-snapshot", breaks = "a follower's new life need not wait for its snapshot",
        file = "src/cluster/peers.c",
        from = "        snapshot_send_at_once(p);\n", to = "",
        test = "test_cluster_order", case = "test_refused_snapshot_is_sent_after_a_pause",
    },
    {
        name = "failed-snapshot-forgotten", breaks = "a snapshot that a full disk failed is tried again",
        file = "src/cluster/snapshot.c",
        from = "    c->bytes_since_snapshot += s->log_bytes;\n", to = "    (void)s;\n",
        test = "test_cluster_order", case = "test_failed_snapshot_is_tried_again",
    },
    {
        name = "failed-snapshot-without-pause", breaks = "a full disk is not written to without end",
        file = "src/cluster/snapshot.c",
        from = " && now_ms(c) >= c->own_retry_ms", to = "",
        test = "test_cluster_order", case = "test_failed_snapshot_is_tried_again",
    },
    {
        name = "stop-waits-for-space", breaks = "a node whose append waits for space stops in order",
        file = "src/cluster/cluster.c",
        from = "if (c->jobs == 0 && !c->journal_closing)",
        to = "if (c->jobs == 0 && c->appends == NULL && !c->journal_closing)",
        test = "test_cluster_cut", case = "test_stop_without_space",
    },
    {
        name = "impossible-clock-taken", breaks = "a peer's clock overflows nothing",
        file = "src/cluster/clock.c",
        from = "if (wall_ms > SAMPLE_MS_MAX)", to = "if (wall_ms > SAMPLE_MS_MAX && p->node_id == 1)",
        test = "test_cluster_hostile", case = "test_impossible_clock",
    },
    {
        name = "hanging-leader-stays", breaks = "a leader whose disk hangs hands over",
        file = "src/cluster/disk.c",
        from = "age > (uint64_t)HANG_ELECTIONS * c->election_ms", to = "false",
        test = "test_cluster_disk", case = "test_leader_hangs",
    },
    {
        name = "full-leader-stays", breaks = "a full leader hands over to one that has room",
        file = "src/cluster/disk.c",
        from = "now_ms(c) - c->full_since_ms >= FULL_MS", to = "false",
        test = "test_cluster_disk", case = "test_leader_is_full",
    },
    {
        name = "full-one-chosen", breaks = "hand-over picks a voter whose disk is well",
        file = "src/cluster/propose.c",
        from = "(p->vitals.disk != 0 ? 2u : 0u) + ", to = "",
        test = "test_cluster_disk", case = "test_hands_over_to_one_with_room",
    },
    {
        name = "hung-together-hand-over", breaks = "who shares a hanging disk keeps the office where it is",
        file = "src/cluster/disk.c",
        from = "        up_to = c->appends->index;", to = "",
        test = "test_cluster_disk", case = "test_all_hang",
    },
    {
        name = "majority-full-unseen", breaks = "NOSPACE comes early where a majority of disks is full",
        file = "src/cluster/disk.c",
        from = "up < majority || room >= majority", to = "up > 0 && room > 0 && majority > 0",
        test = "test_cluster_disk", case = "test_majority_is_full",
    },
}
