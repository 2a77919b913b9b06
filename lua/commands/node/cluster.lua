--- Commands about the node that is asked and its cluster.
local node = ...

--- The public part of node.status(), with the policy in force.
local function status()
    local s = node.status()
    s.members, s.in_flight, s.profile = nil, nil, nil
    local policy = node.policy()
    s.policy = { version = policy.version, hash = policy.hash }
    if s.waiting == "" then s.waiting = nil end
    return s
end

return {
    command {
        name = "status", kind = "node", group = "cluster", access = "operator",
        summary = "State of the node that is asked", example = "status",
        args = {},
        run = function() return status() end,
    },
    command {
        name = "nodes", kind = "node", group = "cluster", access = "operator",
        summary = "Members of the cluster, as the node that is asked sees them", example = "nodes",
        args = {},
        run = function()
            local list = json.list()
            for _, member in ipairs(node.status().members) do
                list[#list + 1] = {
                    address = member.address, id = member.id, role = member.role, leader = member.leader,
                    reachable = member.reachable, match = member.match,
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
            if s.leader == "" then return nil, "there is no leader now", "NOQUORUM" end
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
        summary = "Whether the cluster serves: proves leadership with a round and counts who answers",
        example = "health",
        args = {},
        run = function()
            local s = node.status()
            local voters, reachable = 0, 0
            for _, member in ipairs(s.members) do
                if member.role == "voter" then
                    voters = voters + 1
                    if member.reachable or member.self then reachable = reachable + 1 end
                end
            end
            local quorum = voters // 2 + 1
            local proved = s.role == "leader" and node.read() == true
            local serving = proved or (s.role ~= "leader" and s.leader ~= "" and reachable >= quorum)
            return {
                status = serving and (reachable == voters and "ok" or "degraded") or "down",
                leader = s.leader, voters = voters, reachable = reachable, quorum = quorum,
                failures_left = math.max(0, reachable - quorum),
            }
        end,
    },
    command {
        name = "transfer-leader", kind = "node", group = "cluster", access = "admin",
        summary = "Hands leadership to another voter, the most advanced one if none is named",
        example = "transfer-leader localhost:6001",
        args = { { "address", "node", optional = true } },
        run = function(_, req)
            local s = node.status()
            if s.role ~= "leader" then
                return nil, ("this node does not lead, %s does"):format(s.leader), "NOTREADY"
            end
            local done, message, code = node.transfer(req.address or "")
            if not done then return nil, message, code end
            return { transferred = true, to = req.address or "the most advanced voter" }
        end,
    },
}
