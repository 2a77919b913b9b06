--- Commands that change who is in the cluster. The work is the leader's (src/cluster/member_*);
--- here a change is asked for until it is done, its progress told, and its end put into words.
local node = ...

local POLL = 0.1
local COLUMNS = { columns = { "address", "old", "new", "change", "voters", "quorum", "message" } }

--- "host:port" or "[v6]:port", or nil and what is wrong.
local function check_address(text)
    local host, port = text:match("^%[([%x:.]+)%]:([1-9]%d*)$")
    if not host then host, port = text:match("^([%w._-]+):([1-9]%d*)$") end
    local number = port and math.tointeger(tonumber(port))
    if not host or not number or number < 1 or number > 65535 then
        return nil, ("`%s` is no address; write host:port, e.g. localhost:6003; nothing was changed"):format(text)
    end
    return true
end

local function quorum_of(voters) return voters // 2 + 1 end
local function may_fail(voters) return voters - quorum_of(voters) end

local function plural(n, one, many) return n == 1 and "1 " .. one or n .. " " .. many end

--- "4 voters, quorum 3, 1 may fail"
local function strength(voters)
    return ("%s, quorum %d, %d may fail"):format(plural(voters, "voter", "voters"), quorum_of(voters),
        may_fail(voters))
end

local function count_voters()
    local n = 0
    for _, member in ipairs(node.members()) do
        if member.voter then n = n + 1 end
    end
    return n
end

local function percent(part, whole) return whole > 0 and math.min(100, part * 100 // whole) or 0 end

local function megabytes(bytes) return ("%.1f MB"):format(bytes / 1000000) end

--- One line for whoever waits.
local function describe(state, address)
    local stage = state.stage
    if stage == "reaching" then
        local absent = state.text:find("^no answer")
        return ("waiting for %s: %s%s"):format(address, state.text, absent and "; start it there" or "")
    end
    if stage == "waiting" then return ("waiting: %s"):format(state.text) end
    if stage == "learning" and state.total > 0 then
        return ("%s receives the snapshot: %s of %s (%d %%)"):format(address, megabytes(state.sent),
            megabytes(state.total), percent(state.sent, state.total))
    end
    if stage == "learning" then
        local behind = state.text ~= "" and " (" .. state.text .. ")" or ""
        return ("%s catches up: entry %d of %d (%d %%)%s"):format(address, state.match, state.last,
            percent(state.match, state.last), behind)
    end
    if stage == "promoting" then return address .. " becomes a voter" end
    if stage == "handing" then return "the leader hands over first" end
    if stage == "removing" then return "leaving the configuration" end
    if stage == "undoing" then return "too late: undoing" end
    return nil
end

--- Asks until it is done; tells what is new, and every few seconds that it still waits.
local function carry_out(ctx, kind, address, other, timeout_ms, force)
    local id, said, quiet, began = node.change_id(), nil, 0, now()
    while true do
        local state = node.change(id, kind, address, other, timeout_ms, force)
        if state.done then
            if not state.code then return state end
            return nil, state.text, state.code, state.hint ~= "" and state.hint or nil
        end
        local line = describe(state, other ~= "" and other or address)
        quiet = quiet + 1
        if line and (line ~= said and quiet >= 3 or said == nil or quiet >= 50) then
            local left = (timeout_ms - (now() - began)) // 1000
            ctx:progress(left > 0 and ("%s (%d s left, Ctrl-C ends)"):format(line, left) or line)
            said, quiet = line, 0
        end
        sleep(POLL)
    end
end

--- This node's own view follows the leader's by a moment.
local function settled(check)
    for _ = 1, 30 do
        if check() then return end
        sleep(POLL)
    end
end

local function role_of(address)
    for _, member in ipairs(node.members()) do
        if member.address == address then return member.voter and "voter" or "learner" end
    end
    return nil
end

-- ---- --dry-run -----------------------------------------------------------------------------

local function case(when, voters, reachable)
    local quorum = quorum_of(voters)
    return {
        case = when, voters = voters, reachable = reachable, quorum = quorum,
        may_fail = math.max(0, reachable - quorum), serves = reachable >= quorum,
    }
end

--- Voters and quorum before, after, and after one more failure. `plus` and `minus` are the
--- changes in voters, `lost` of the removed ones were reachable.
local function rehearse(plus, minus, lost)
    local voters, reachable = 0, 0
    for _, member in ipairs(node.members()) do
        if member.voter then
            voters = voters + 1
            if member.reachable then reachable = reachable + 1 end
        end
    end
    local after, left = voters + plus - minus, reachable + plus - lost
    if after < 1 then
        return nil, "the last voter can never be removed; nothing was changed", "CONFLICT",
            "add another node first: add-node ADDR"
    end
    return json.list {
        case("before", voters, reachable),
        case("after", after, left),
        case("after, and one more failure", after, math.max(0, left - 1)),
    }, { columns = { "case", "voters", "reachable", "quorum", "may_fail", "serves" } }
end

--- Says the same in one line, which stays, before a change begins.
local function foretell(ctx, plus, minus, lost)
    local cases = rehearse(plus, minus, lost)
    if not cases then return end
    local after, worse = cases[2], cases[3]
    ctx:progress(("now %s; then %s; after one more failure it %s\n"):format(strength(cases[1].voters),
        strength(after.voters), worse.serves and "still serves" or "stands still"))
end

local function reachable_of(address)
    for _, member in ipairs(node.members()) do
        if member.address == address then return member.voter and member.reachable and 1 or 0, member end
    end
    return nil
end

local function no_member(address)
    local names = {}
    for _, member in ipairs(node.members()) do names[#names + 1] = member.address end
    return nil, ("%s is no member; the members are %s; nothing was changed"):format(address,
        table.concat(names, ", ")), "NOTFOUND", "use an address as `nodes` shows it"
end

-- ---- The commands --------------------------------------------------------------------------

local function complete_member()
    local list = {}
    for _, member in ipairs(node.members()) do list[#list + 1] = member.address end
    return list
end

local timeout_help = "how long to wait"

local add = command {
    name = "add-node", kind = "node", group = "cluster", access = "admin",
    summary = "Adds a node to the cluster: it catches up, then it votes",
    example = "add-node localhost:6003",
    args = { { "address", "node", meta = "ADDR", help = "host:port of the new node; it may be started afterwards" } },
    options = {
        { "timeout", "duration", default = "60", help = timeout_help },
        { "dry-run", "bool", help = "show voters and quorum before and after, change nothing" },
    },
    run = function(ctx, req)
        local ok, wrong = check_address(req.address)
        if not ok then return nil, wrong, "BADARG" end
        if req.dry_run then
            if role_of(req.address) then
                return nil, req.address .. " is a member already; nothing was changed", "CONFLICT",
                    ("after its disk was emptied: replace-node %s %s"):format(req.address, req.address)
            end
            return rehearse(1, 0, 0)
        end
        if not role_of(req.address) then foretell(ctx, 1, 0, 0) end
        local state, message, code, hint = carry_out(ctx, "add", req.address, "", req.timeout, false)
        if not state then return nil, message, code, hint end
        settled(function() return role_of(req.address) == "voter" end)
        local voters = count_voters()
        return {
            address = req.address, change = "added", voters = voters, quorum = quorum_of(voters),
            message = ("%s is a voter now: %s. Keep it in the profile's list of nodes on every machine.")
                :format(req.address, strength(voters)),
        }, COLUMNS
    end,
}

local remove = command {
    name = "remove-node", kind = "node", group = "cluster", access = "admin",
    summary = "Removes a node from the cluster; a leader hands over first",
    example = "remove-node localhost:6003",
    args = {
        { "address", "node", meta = "ADDR", help = "the member, as `nodes` shows it", complete = complete_member },
    },
    options = {
        { "timeout", "duration", default = "15", help = timeout_help },
        { "force", "bool", help = "even if too few reachable voters would remain" },
        { "dry-run", "bool", help = "show voters and quorum before and after, change nothing" },
    },
    run = function(ctx, req)
        local ok, wrong = check_address(req.address)
        if not ok then return nil, wrong, "BADARG" end
        local reachable, member = reachable_of(req.address)
        if req.dry_run then
            if not member then return no_member(req.address) end
            return rehearse(0, member.voter and 1 or 0, reachable)
        end
        local before = count_voters()
        if member then foretell(ctx, 0, member.voter and 1 or 0, reachable) end
        local state, message, code, hint = carry_out(ctx, "remove", req.address, "", req.timeout, req.force)
        if not state then return nil, message, code, hint end
        settled(function() return node.status().role == "removed" or role_of(req.address) == nil end)
        local voters = node.status().role == "removed" and before - 1 or count_voters()
        return {
            address = req.address, change = "removed", voters = voters, quorum = quorum_of(voters),
            message = ("%s was removed: %s. Stop it (in its terminal Ctrl-D, then Ctrl-C), and take it out of the "
                .. "profile's list of nodes."):format(req.address, strength(voters)),
        }, COLUMNS
    end,
}

local replace = command {
    name = "replace-node", kind = "node", group = "cluster", access = "admin",
    summary = "Puts a new node in the place of an old one; the same address twice after its disk was emptied",
    example = "replace-node localhost:6002 localhost:6003",
    args = {
        { "old", "node", meta = "OLD", help = "the member to go, as `nodes` shows it", complete = complete_member },
        { "new", "node", meta = "NEW", help = "host:port of the new node; OLD again when its disk was emptied" },
    },
    options = {
        { "timeout", "duration", default = "75", help = timeout_help },
        { "force", "bool", help = "even if too few reachable voters would remain for a while" },
        { "dry-run", "bool", help = "show voters and quorum before and after, change nothing" },
    },
    run = function(ctx, req)
        for _, address in ipairs { req.old, req.new } do
            local ok, wrong = check_address(address)
            if not ok then return nil, wrong, "BADARG" end
        end
        local reachable, member = reachable_of(req.old)
        if req.dry_run then
            if not member then return no_member(req.old) end
            return rehearse(1, member.voter and 1 or 0, reachable)
        end
        if member then foretell(ctx, 1, member.voter and 1 or 0, reachable) end
        local state, message, code, hint = carry_out(ctx, "replace", req.old, req.new, req.timeout, req.force)
        if not state then return nil, message, code, hint end
        settled(function() return role_of(req.new) == "voter" and (req.old == req.new or not role_of(req.old)) end)
        local voters = count_voters()
        local next_step = req.old == req.new and "Nothing is left to do."
            or ("Stop %s if it still runs, and put %s in its place in the profile's list of nodes.")
                :format(req.old, req.new)
        return {
            old = req.old, new = req.new, change = "replaced", voters = voters, quorum = quorum_of(voters),
            message = ("%s took the place of %s: %s. %s"):format(req.new,
                req.old == req.new and "its emptied predecessor" or req.old, strength(voters), next_step),
        }, COLUMNS
    end,
}

local function current_leader()
    for _ = 1, 20 do
        local leader = node.status().leader
        if leader ~= "" then return leader end
        sleep(POLL)
    end
    return ""
end

local transfer = command {
    name = "transfer-leader", kind = "node", group = "cluster", access = "admin",
    summary = "Hands leadership to another voter, the most advanced one if none is named",
    example = "transfer-leader localhost:6001",
    args = {
        { "address", "node", optional = true, meta = "ADDR", help = "the voter that shall lead",
            complete = complete_member },
    },
    options = { { "timeout", "duration", default = "10", help = timeout_help } },
    run = function(ctx, req)
        local from = node.status().leader
        if req.address then
            local ok, wrong = check_address(req.address)
            if not ok then return nil, wrong, "BADARG" end
            if req.address == from then
                return { transferred = false, leader = from, message = from .. " leads already; nothing was changed." }
            end
        end
        local state, message, code, hint = carry_out(ctx, "transfer", req.address or "", "", req.timeout, false)
        if not state then return nil, message, code, hint end
        local leader = current_leader()
        return {
            transferred = true, from = from, leader = leader,
            message = ("%s leads now; requests that were waiting go on there."):format(leader),
        }
    end,
}

local drain = command {
    name = "drain", kind = "node", group = "cluster", access = "admin",
    summary = "Before a restart: the node that is asked hands leadership over and takes no new work",
    example = "drain",
    args = { { "state", "one_of", choices = { "on", "off" }, default = "on", help = "off: it takes work again" } },
    options = { { "timeout", "duration", default = "10", help = timeout_help } },
    run = function(ctx, req)
        if req.state == "off" then
            node.drain(false)
            return { draining = false, message = "This node takes work again and may lead." }
        end
        node.drain(true)
        local status = node.status()
        local limit = req.timeout // 100
        for i = 1, limit do
            if status.role ~= "leader" then break end
            if i == 3 then ctx:progress("the leader hands over") end
            sleep(POLL)
            status = node.status()
        end
        if status.role == "leader" then
            return {
                draining = true, leader = status.address,
                message = "No other voter can lead now, so this node still does: a restart stops the cluster "
                    .. "meanwhile. `drain off` ends it.",
            }
        end
        return {
            draining = true, leader = status.leader,
            message = "This node does not lead and takes no new work: restart it now, or `drain off`.",
        }
    end,
}

return { add, remove, replace, transfer, drain }
