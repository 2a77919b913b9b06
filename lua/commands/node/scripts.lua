--- Commands about what runs on the node: its scripts, and the scripts and statements of clients.
local node = ...

--- Reads and runs all node scripts anew, then swaps them in: all, or none when one is broken.
local function reload(ctx)
    local done, message, code = node.reload("read")
    if not done then return nil, message .. "; the scripts go on as they were", code end
    while true do
        done, message, code = node.reload("step")
        if done then break end
        if message then return nil, message .. "; the scripts go on as they were", code end
        sleep(0)
    end
    done, message, code = node.reload("swap")
    if not done then return nil, message .. "; the scripts go on as they were", code end
    ctx:progress("all scripts were read anew")
    return true
end

local function hooks()
    local list = json.list()
    for _, script in ipairs(node.scripts()) do
        for _, handler in ipairs(script.handlers or {}) do list[#list + 1] = handler end
    end
    return list
end

return {
    command {
        name = "scripts", kind = "node", group = "scripts", access = "operator",
        summary = "Node scripts of the node that is asked; `hooks` lists their handlers, `reload` reads them anew",
        example = "scripts reload",
        args = { { "action", "one_of", choices = { "list", "hooks", "reload" }, default = "list" } },
        run = function(ctx, req)
            if req.action == "hooks" then
                return hooks(), { columns = { "hook", "where", "at", "calls", "errors", "missed", "queued",
                    "skipped" } }
            end
            if req.action == "reload" then
                local done, message, code = reload(ctx)
                if not done then return nil, message, code end
            end
            local list = json.list()
            for i, script in ipairs(node.scripts()) do
                script.hooks = #(script.handlers or {})
                script.handlers, script.tasks = nil, nil
                list[i] = script
            end
            return list, { columns = { "script", "state", "memory", "hooks", "checks", "commands", "errors",
                "last_error" } }
        end,
    },
    command {
        name = "ps", kind = "node", group = "scripts", access = "operator",
        summary = "Scripts and statements at work on the node that is asked", example = "ps",
        args = {},
        run = function()
            return node.tasks(), { columns = { "id", "name", "user", "state", "age_ms", "instructions", "memory" } }
        end,
    },
    command {
        name = "kill", kind = "node", group = "scripts", access = "operator",
        summary = "Ends a script or statement by its number in `ps`", example = "kill 7",
        args = { { "id", "int", help = "as `ps` shows it" } },
        run = function(_, req)
            if node.kill(req.id) then return { killed = req.id } end
            return nil, ("nothing with the number %d is at work here; see `ps`"):format(req.id), "NOTFOUND"
        end,
    },
}
