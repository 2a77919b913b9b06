--- Commands about the node that is asked and its cluster.
local node = ...

--- The public part of node.status(), with the policy in force.
local function status()
    local s = node.status()
    s.members, s.in_flight, s.profile = nil, nil, nil
    local policy = node.policy()
    s.policy = { version = policy.version, hash = policy.hash }
    if s.waiting == "" then s.waiting = nil end
    if node.drain() then s.draining = true end
    return s
end

local function version_text(number)
    return ("%d.%d.%d"):format(number // 1000000, number // 1000 % 1000, number % 1000)
end

--- One row for each member, from what it has last told this node.
local function overview()
    local rows, newest = json.list(), 0
    local members = node.members()
    for _, member in ipairs(members) do
        if member.vitals then newest = math.max(newest, member.vitals.commit) end
    end
    for _, member in ipairs(members) do
        local v = member.vitals
        rows[#rows + 1] = {
            address = member.address, role = v and v.role or "unknown", leader = member.leader,
            reachable = member.reachable, term = v and v.term, commit = v and v.commit, applied = v and v.applied,
            behind = v and math.max(0, newest - v.applied), version = v and version_text(v.version),
            policy = v and v.policy, write_ms = v and v.write_us / 1000, uptime_s = v and v.uptime_ms // 1000,
            age_ms = v and v.age_ms,
        }
    end
    return rows, { columns = { "address", "role", "reachable", "term", "applied", "behind", "version", "policy",
        "uptime_s", "age_ms" } }
end

--- Commits an empty entry; -> microseconds, or nil, message, code, hint.
local function probe(timeout_ms)
    local id = node.change_id()
    while true do
        local state = node.change(id, "probe", "", "", timeout_ms, false)
        if state.done then
            if state.code then return nil, state.text, state.code, state.hint end
            return state.match
        end
        sleep(0.02)
    end
end

return {
    command {
        name = "status", kind = "node", group = "cluster", access = "operator",
        summary = "State of the node that is asked, or of all nodes", example = "status --cluster",
        args = {},
        options = { { "cluster", "bool", help = "one row for each member, as it has last told this node" } },
        run = function(_, req)
            if req.cluster then return overview() end
            return status()
        end,
    },
    command {
        name = "nodes", kind = "node", group = "cluster", access = "operator",
        summary = "Members of the cluster, as the node that is asked sees them", example = "nodes",
        args = {},
        run = function()
            local list = json.list()
            for _, member in ipairs(node.members()) do
                local match = member.match
                if match == 0 and member.vitals then match = member.vitals.last end
                list[#list + 1] = {
                    address = member.address, id = member.id, role = member.voter and "voter" or "learner",
                    leader = member.leader, reachable = member.reachable, match = match,
                }
            end
            return list
        end,
    },
    command {
        name = "leader", kind = "node", group = "cluster", access = "operator",
        summary = "Address of the leader", example = "leader",
        args = {},
        run = function()
            local s = node.status()
            if s.leader == "" then
                return nil, "no majority of the voters has a leader now", "NOQUORUM",
                    "an election may be under way; `nodes` shows who is reachable"
            end
            return { leader = s.leader, term = s.term }
        end,
    },
    command {
        name = "is-leader", kind = "node", group = "cluster", access = "operator",
        summary = "Whether the node that is asked leads", example = "is-leader",
        args = {},
        run = function() return node.status().role == "leader" end,
    },
    command {
        name = "health", kind = "node", group = "cluster", access = "operator",
        summary = "Whether the cluster takes writes: commits a probe, and shows who answers how fast",
        example = "health",
        args = {},
        options = { { "timeout", "duration", default = "5", help = "how long the probe may take" } },
        run = function(_, req)
            local took, message, code, hint = probe(req.timeout)
            if not took then return nil, message, code, hint end
            local voters, reachable, latency, well = 0, 0, {}, true
            for _, member in ipairs(node.members()) do
                local v = member.vitals
                if v and (v.disk_full or v.disk_hangs) then well = false end
                if member.voter then
                    voters = voters + 1
                    if member.reachable then reachable = reachable + 1 end
                end
                if member.rtt_us > 0 then latency[member.address] = member.rtt_us / 1000 end
            end
            local quorum = voters // 2 + 1
            return {
                status = reachable == voters and well and "ok" or "degraded", leader = node.status().leader,
                voters = voters, reachable = reachable, quorum = quorum, commit_ms = took / 1000,
                failures_left = math.max(0, reachable - quorum), latency_ms = latency,
            }, { columns = { "status", "leader", "voters", "reachable", "quorum", "failures_left" } }
        end,
    },
}
