-- Writes docs/rules.md from the annotations of what a policy's Lua sees; with --check only says
-- whether the page is current. Run as `./dev docs`, from the project's directory.
local M = { page = "docs/rules.md" }

-- ---- Reading -------------------------------------------------------------------------

local function read(path)
    local file = assert(io.open(path))
    local text = file:read("a")
    file:close()
    return text
end

-- "name" and "text" of "name? type text": a type may hold blanks within brackets.
local function split_type(text)
    local depth, i = 0, 1
    while i <= #text do
        local c = text:sub(i, i)
        if c:find("[%({%[<]") then depth = depth + 1 end
        if c:find("[%)}%]>]") then depth = depth - 1 end
        if c == " " and depth == 0 and not text:sub(i - 1, i - 1):find("[:,|]") then break end
        i = i + 1
    end
    return text:sub(1, i - 1), text:sub(i + 1)
end

local function new_block() return { text = {}, params = {}, fields = {}, returns = {} } end

local function annotate(block, tag, rest)
    if tag == "class" then
        block.class, block.about = rest:match("^(%S+)%s*(.*)$")
    elseif tag == "field" or tag == "param" then
        local name, more = rest:match("^(%S+)%s+(.*)$")
        local kind, text = split_type(more)
        table.insert(tag == "field" and block.fields or block.params, { name = name, type = kind, text = text })
    elseif tag == "return" then
        block.returns[#block.returns + 1] = rest
    elseif tag == "alias" then
        block.alias, block.type = rest:match("^(%S+)%s+(.*)$")
    end
end

--- The documented functions, classes and aliases of a file, in order; first its opening text.
local function parse(path)
    local items, block, banner = {}, new_block(), nil
    for line in (read(path) .. "\n"):gmatch("(.-)\n") do
        local tag, rest = line:match("^%-%-%-@(%a+)%s*(.*)$")
        local text = not tag and line:match("^%-%-%-%s?(.*)$")
        if tag then
            annotate(block, tag, rest)
        elseif text then
            block.text[#block.text + 1] = text
        else
            local name, args = line:match("^function ([%w_.:]+)(%b())")
            if name then
                block.name, block.args = name, args
            end
            if not banner then banner = table.concat(block.text, "\n") end
            if block.class or (name and (#block.text > 0 or #block.returns > 0)) then
                items[#items + 1] = block
            end
            if line ~= "" or #block.text > 0 or block.class or block.alias then block = new_block() end
        end
    end
    return items, banner
end

-- ---- Writing ---------------------------------------------------------------------------

local out

local function put(text, ...) out[#out + 1] = select("#", ...) > 0 and text:format(...) or text end

local function code(text) return "`" .. text:gsub("|", "\\|") .. "`" end

-- Lines that are indented belong to a list or an example: shown as they are.
local function put_text(lines)
    local inside
    for _, line in ipairs(lines) do
        local indented = line:find("^%s%s") ~= nil
        if indented ~= (inside or false) and (indented or inside) then put(indented and "\n```" or "```\n") end
        inside = indented
        put(line)
    end
    if inside then put("```") end
end

local function put_rows(rows, head)
    if #rows == 0 then return end
    put("\n| %s | type | |\n|---|---|---|", head)
    for _, row in ipairs(rows) do
        put("| %s | %s | %s |", code(row.name), code(row.type), (row.text:gsub("|", "\\|")))
    end
end

local function put_function(item, prefix)
    put("\n### %s\n", code(item.name:gsub("^M%.", prefix) .. item.args))
    put_text(item.text)
    put_rows(item.params, "parameter")
    if #item.returns > 0 and prefix ~= "rules." then
        put("\nReturns %s", code(table.concat(item.returns, "; ")))
    end
end

local function put_class(item)
    put("\n### %s\n", item.class)
    if item.about ~= "" then put(item.about:sub(1, 1):upper() .. item.about:sub(2) .. ".") end
    put_text(item.text)
    put_rows(item.fields, "field")
end

-- Functions of a class as one list: "tx:take(t) -> Order".
local function put_method(item)
    local name = item.name:gsub("^(%u)(%a*)", function(a, b) return a:lower() .. b end)
    put("\n**%s**%s\n", code(name .. item.args),
        #item.returns > 0 and " → " .. code(table.concat(item.returns, "; ")) or "")
    put_text(item.text)
    for _, param in ipairs(item.params) do
        if #param.type > 12 then put("- %s: %s %s", code(param.name), code(param.type), param.text) end
    end
end

local RULES = { "limits", "hoarding", "neighbours", "places", "window", "prices" }

local function put_rules()
    put("\n## Rules (`usher.rules`)\n")
    put_text { "Every rule but `overbook` also takes `exempt`, a list of roles that it does not concern.",
        "Times are UTC text, ms, or a duration with a sign (`-48h`) counted from the event's attribute `start`.",
        "", "Rules judge what is taken and moved; those about what a party is made of (`party`, `adjacent`,",
        "`accessible`, `whole_tables`) also what is confirmed, by the roles of whoever confirms. Nothing judges",
        "giving back: a `release` or `split` of a hold is judged at its `confirm`, but a `cancel`, `cancel-seat`",
        "or `split` of a booking may leave a party that nobody could book. Who does not want that refuses it in",
        "the hook `cancel`, or puts a command of the same name into the bundle." }
    for _, part in ipairs(RULES) do
        for _, item in ipairs((parse("lua/usher/rules/" .. part .. ".lua"))) do
            if item.class then put_class(item) elseif item.name then put_function(item, "rules.") end
        end
    end
end

local function put_module(path, title, prefix)
    local items, banner = parse(path)
    put("\n## %s\n", title)
    local lines = {}
    for line in (banner .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = line end
    put_text(lines)
    for _, item in ipairs(items) do
        if item.name then put_function(item, prefix) end
    end
end

-- What is made by test.house and test.property, by the names that specs use.
local TESTS = { ["M.new"] = "test.house", ["M.run"] = "test.property" }

local function put_tests()
    put("\n## Tests (`usher.test`)\n")
    put_text { "`local test = require \"usher.test\"`; the README shows a spec." }
    for _, path in ipairs { "lua/usher/test/house.lua", "lua/usher/test/property.lua" } do
        for _, item in ipairs((parse(path))) do
            local name = item.name and (TESTS[item.name] or item.name:match("^House:.+"))
            if name and name ~= "House:raw" then
                item.name = name:gsub("^House", "house")
                put_function(item, "")
            end
        end
    end
end

local function put_objects()
    put("\n## Policies, rules and objects\n")
    local items, methods, globals = {}, {}, {}
    for _, path in ipairs { "lua/usher/types.lua", "lua/usher/policy_runtime.lua", "lua/usher/policy.lua" } do
        for _, item in ipairs((parse(path))) do
            local class = item.name and item.name:match("^(%u%a*):")
            if item.class then
                items[#items + 1] = item
            elseif class then
                methods[class] = methods[class] or {}
                table.insert(methods[class], item)
            elseif item.name and not item.name:find("[.:]") then
                globals[#globals + 1] = item
            end
        end
    end
    put("\n### Globals of a bundle\n")
    for _, item in ipairs(globals) do put_method(item) end
    for _, item in ipairs(items) do
        put_class(item)
        for _, method in ipairs(methods[item.class] or {}) do put_method(method) end
    end
end

--- The whole page.
function M.text()
    out = {}
    put("# Policy reference\n")
    put("Made by `./dev docs` from the annotations in `lua/usher`; docs/lua.md is the contract, and")
    put("`lua/policy/` has eight examples with their specs.")
    put_rules()
    put_module("lua/usher/scores.lua", "Orders of preference (`usher.scores`)", "scores.")
    put_module("lua/usher/queue.lua", "On-sale queue (`usher.queue`)", "queue.")
    put_module("lua/usher/waiting.lua", "Waiting lists (`usher.waiting`)", "waiting.")
    put_objects()
    put_tests()
    local text = (table.concat(out, "\n") .. "\n"):gsub("[ \t]+\n", "\n"):gsub("\n\n\n+", "\n\n")
    return text
end

if arg and arg[0] and arg[0]:find("docs.lua", 1, true) then
    local text = M.text()
    if arg[1] == "--check" then
        local file = io.open(M.page)
        local now = file and file:read("a")
        if file then file:close() end
        if now ~= text then
            io.stderr:write(M.page .. " is not current: run ./dev docs\n")
            os.exit(1)
        end
        print("docs: 1 page is current")
    else
        local file = assert(io.open(M.page, "w"))
        file:write(text)
        file:close()
        print("wrote " .. M.page)
    end
end

return M
