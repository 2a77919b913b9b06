--- `doctor`: looks the cluster over from the node that is asked and says what to do about what
--- it finds. Scripts add checks of their own with check(name, fn) (docs/lua.md, 4).
local node = ...

local WORSE = { ok = 0, warn = 1, error = 2 }

local function row(name, status, text, advice)
    return { check = name, status = status, text = text, advice = advice or "" }
end

local function names_of(list)
    local names = {}
    for _, member in ipairs(list) do names[#names + 1] = member.address end
    return table.concat(names, ", ")
end

--- Members whose last word is not older than some seconds.
local function fresh(members)
    local list = {}
    for _, member in ipairs(members) do
        if member.vitals and member.vitals.age_ms < 5000 then list[#list + 1] = member end
    end
    return list
end

local function check_quorum(members)
    local voters, reachable, away = 0, 0, {}
    for _, member in ipairs(members) do
        if member.voter then
            voters = voters + 1
            if member.reachable then reachable = reachable + 1 else away[#away + 1] = member end
        end
    end
    local quorum = voters // 2 + 1
    local left = reachable - quorum
    local text = ("%d voters, %d reachable, %d needed"):format(voters, reachable, quorum)
    if left < 0 then
        return row("quorum", "error", text .. ": nothing can be booked",
            "start " .. names_of(away) .. "; if they are lost for good: usher recover")
    elseif #away > 0 then
        return row("quorum", left == 0 and "error" or "warn", ("%s: %d more may fail"):format(text, left),
            ("start %s, or remove-node, or replace-node after its disk was lost"):format(names_of(away)))
    elseif voters == 1 then
        return row("quorum", "warn", "a single voter: any failure stops the cluster", "add-node two more")
    elseif voters % 2 == 0 then
        return row("quorum", "warn", ("%s: as many may fail as with one voter less"):format(text),
            "add-node one more, or remove-node one")
    end
    return row("quorum", "ok", ("%s: %d may fail"):format(text, left))
end

local function check_members(members, rows)
    for _, member in ipairs(members) do
        if not member.reachable then
            rows[#rows + 1] = row("reach", "warn", ("%s: %s"):format(member.address, member.why),
                "look at its log; start it; after a lost disk: replace-node " .. member.address .. " NEW")
        end
        if member.deaf then
            local heard = (member.heard_ms or math.huge) < 3000
            rows[#rows + 1] = row("reach", "warn", member.address .. (heard
                and " is heard here, but does not hear this node" or " takes the connection, but says nothing"),
                "look at the network between the two, both ways, and whether its process runs")
        end
        if not member.voter then
            rows[#rows + 1] = row("learner", "warn", member.address .. " has no vote yet",
                "an add-node is under way, or its rest will be dropped by the leader")
        end
    end
end

local function check_lag(members)
    local newest, worst, behind = 0, nil, 0
    for _, member in ipairs(fresh(members)) do newest = math.max(newest, member.vitals.commit) end
    for _, member in ipairs(fresh(members)) do
        local lag = newest - member.vitals.applied
        if lag > behind then worst, behind = member, lag end
    end
    if behind > 2000 then
        return row("lag", behind > 100000 and "error" or "warn",
            ("%s is %d entries behind"):format(worst.address, behind),
            "it catches up by itself; if not, look at its disk, its CPU and its log")
    end
    return row("lag", "ok", behind == 0 and "nobody is behind" or ("the last is %d behind"):format(behind))
end

local function check_writes(members)
    local worst
    for _, member in ipairs(fresh(members)) do
        if not worst or member.vitals.write_us > worst.vitals.write_us then worst = member end
    end
    if not worst then return row("fsync", "warn", "no node has told yet", "ask again in a second") end
    local ms = worst.vitals.write_us / 1000
    if worst.vitals.disk_hangs then
        return row("fsync", "error", ("%s waits for its disk since %.1f s"):format(worst.address, ms / 1000),
            "look at the disk and at the descriptors there; a leader hands over, and only lags until it is well")
    end
    local text = ("slowest: %s, %.1f ms for a write with its sync"):format(worst.address, ms)
    if ms > 20 then
        return row("fsync", ms > 200 and "error" or "warn", text,
            "every booking waits for a majority's disks: give the data directory a faster one")
    end
    return row("fsync", "ok", text)
end

local function check_clocks(members)
    local worst, apart = nil, 0
    for _, member in ipairs(members) do
        local ms = math.abs(member.clock_ms or 0)
        if ms > apart then worst, apart = member, ms end
    end
    if apart > 1000 then
        return row("clock", apart > 8000 and "error" or "warn",
            ("%s differs by %.1f s from this node"):format(worst.address, apart / 1000),
            "run a time service (chrony, ntpd) on every machine; beyond 10 s a leader stamps nothing")
    end
    return row("clock", "ok", ("at most %d ms apart"):format(apart))
end

local function check_digest(members)
    local equal, wrong = 0, {}
    for _, member in ipairs(members) do
        if member.digest_agrees == 1 then equal = equal + 1 end
        if member.digest_agrees == -1 then wrong[#wrong + 1] = member end
    end
    if #wrong > 0 then
        return row("digest", "error", names_of(wrong) .. ": another state at the same index than here",
            "the minority quarantines itself: stop it, remove its data directory, start it, replace-node it by itself")
    end
    return row("digest", "ok", ("%d of %d compared at an equal index: the same"):format(equal, #members))
end

--- All nodes that have told should say the same of `key`.
local function check_same(members, name, key, what, advice)
    local first, other
    for _, member in ipairs(fresh(members)) do
        local value = member.vitals[key]
        if not first then first = member
        elseif value ~= first.vitals[key] then other = member end
    end
    if other then
        return row(name, "warn", ("%s and %s run different %s"):format(first.address, other.address, what), advice)
    end
    return row(name, "ok", "the same " .. what .. " everywhere")
end

--- Those of `members` that say `key` of their policy, and where the error of the first one is.
local function that_say(members, key)
    local list = {}
    for _, member in ipairs(members) do
        if member.vitals[key] then list[#list + 1] = member end
    end
    return list, list[1] and list[1].vitals.policy_place or "", list[1] and list[1].vitals.policy
end

local function show(version, place)
    local file = place:match("^(.+):%d+$")
    return file and ("`policy show %d --only %s`"):format(version, file) or ("`policy show %d`"):format(version)
end

--- The row of a policy that a member could not load, or that fails; nil when there is no such member.
local function policy_trouble(told)
    local refused, place, version = that_say(told, "policy_refused")
    if #refused > 0 then
        local where = place ~= "" and (" (%s)"):format(place) or ""
        local unruled = #that_say(refused, "policy_unruled") > 0
        return row("policy", "error", ("%s: policy %d does not load there%s: %s"):format(names_of(refused), version,
            where, unruled and "it sells nothing while it leads" or "the one before stays active there"),
            ("`policy show %d` shows it; deploy one that loads, or `policy rollback`"):format(version))
    end
    local failed
    failed, place, version = that_say(told, "policy_failed")
    if #failed > 0 then
        local where = place ~= "" and " at " .. place or ""
        return row("policy", "error", ("%s: policy %d has failed%s within 5 minutes"):format(names_of(failed), version,
            where), ("%s and a --dry-run of such a request show why; `policy rollback` takes it back"):format(
            show(version, place)))
    end
end

local function check_policy(members)
    local told = fresh(members)
    local trouble = policy_trouble(told)
    if trouble then return trouble end
    for _, member in ipairs(told) do
        local mine, other = told[1].vitals, member.vitals
        if mine.policy ~= other.policy or mine.policy_hash ~= other.policy_hash then
            return row("policy", "warn", ("%s has policy %d, %s has %s"):format(told[1].address, mine.policy,
                member.address, mine.policy ~= other.policy and other.policy or "another one of that number"),
                "a node that lags follows by itself; `policy list` shows what is active")
        end
    end
    local active, loaded = node.policy(), #that_say(told, "policy_told") -- an older program does not tell
    return row("policy", "ok", ("%s, version %d, loaded on %s%d"):format(
        active.name ~= "" and active.name or "a policy without a name", active.version,
        loaded == #members and "all " or loaded .. " of ", #members))
end

local function check_disk(members)
    local full, least = {}, nil
    for _, member in ipairs(fresh(members)) do
        if member.vitals.disk_full then full[#full + 1] = member end
    end
    if #full > 0 then
        return row("disk", "error", names_of(full) .. ": the disk is full",
            "make room there: with a majority full bookings are refused (NOSPACE); it heals by itself")
    end
    for _, member in ipairs(fresh(members)) do
        if member.vitals.free_bytes > 0 and (not least or member.vitals.free_bytes < least.vitals.free_bytes) then
            least = member
        end
    end
    if not least then return row("disk", "warn", "no node has told yet", "ask again in a second") end
    local gigabytes = least.vitals.free_bytes / 1e9
    local text = ("least: %s, %.1f GB free"):format(least.address, gigabytes)
    if gigabytes < 1 then
        return row("disk", gigabytes < 0.2 and "error" or "warn", text,
            "make room there: with too little a node refuses new bookings (NOSPACE) until there is")
    end
    return row("disk", "ok", text)
end

local function check_files(members)
    local worst, share = nil, 0
    for _, member in ipairs(fresh(members)) do
        local v = member.vitals
        local part = v.files_max > 0 and v.files / v.files_max or 0
        if not worst or part > share then worst, share = member, part end
    end
    if not worst then return row("files", "warn", "no node has told yet", "ask again in a second") end
    local v = worst.vitals
    local text = ("most: %s, about %d of %d descriptors in use"):format(worst.address, v.files, v.files_max)
    if share > 0.8 then
        return row("files", share > 0.95 and "error" or "warn", text, "raise the limit (ulimit -n, LimitNOFILE=)")
    end
    return row("files", "ok", text)
end

local function check_leader(status)
    if status.leader == "" then
        return row("leader", "error", "nobody leads", "start the nodes that `nodes` shows as unreachable")
    end
    return row("leader", "ok", ("%s in term %d"):format(status.leader, status.term))
end

return {
    command {
        name = "doctor", kind = "node", group = "cluster", access = "operator",
        summary = "Checks the cluster from the node that is asked, with advice", example = "doctor",
        args = {},
        run = function()
            local status, members, rows = node.status(), node.members(), json.list()
            if #members == 0 then
                return json.list { row("cluster", "error", status.waiting ~= "" and status.waiting or status.role,
                    "the node is in no cluster yet") }
            end
            rows[#rows + 1] = check_quorum(members)
            rows[#rows + 1] = check_leader(status)
            check_members(members, rows)
            rows[#rows + 1] = check_lag(members)
            rows[#rows + 1] = check_writes(members)
            rows[#rows + 1] = check_clocks(members)
            rows[#rows + 1] = check_digest(members)
            rows[#rows + 1] = check_same(members, "binary", "build_hash", "programs",
                "finish the upgrade: install the same program and restart, one node at a time")
            rows[#rows + 1] = check_policy(members)
            rows[#rows + 1] = check_same(members, "profile", "profile_hash", "profiles",
                "make users, secret, scripts, policy and timeout the same in each config.lua, then restart one by one")
            rows[#rows + 1] = check_disk(members)
            rows[#rows + 1] = check_files(members)
            for _, check in ipairs(node.checks()) do
                rows[#rows + 1] = row(check.name, WORSE[check.status] and check.status or "error", check.text,
                    check.advice)
            end
            return rows, { columns = { "check", "status", "text", "advice" } }
        end,
    },
}
