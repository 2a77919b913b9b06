--- What the console knows while a line is being typed: hints, missing arguments, questions
--- before something dangerous, lines that must not be kept. Runs in the client; the node alone
--- decides what a line means.
local M = {}

local by_name = {}

--- Takes the definitions of all commands, as `commands` answers.
---@param list table[]
function M.define(list)
    by_name = {}
    for _, definition in ipairs(list) do
        by_name[definition.name] = definition
        for _, alias in ipairs(definition.aliases or {}) do by_name[alias] = definition end
    end
end

-- ---- Words ------------------------------------------------------------------------------

--- Where a JSON word that begins at `at` ends, or nil.
local function json_end(line, at)
    local depth, quoted, i = 0, false, at
    while i <= #line do
        local c = line:sub(i, i)
        if quoted and c == "\\" then
            i = i + 1
        elseif c == '"' then
            quoted = not quoted
        elseif not quoted and (c == "{" or c == "[") then
            depth = depth + 1
        elseif not quoted and (c == "}" or c == "]") then
            depth = depth - 1
            if depth == 0 then return i end
        end
        i = i + 1
    end
end

--- One word from `at` on: the word, the place behind it, whether it is closed.
local function word_at(line, at)
    local parts, quote = {}, nil
    if line:find("^[%[{]", at) then
        local stop = json_end(line, at)
        if not stop then return line:sub(at), #line + 1, false end
        return line:sub(at, stop), stop + 1, true
    end
    while at <= #line do
        local c = line:sub(at, at)
        if c == "\\" and quote ~= "'" and at < #line then -- as the node reads it (src/script/words.c)
            at = at + 1
            parts[#parts + 1] = line:sub(at, at)
        elseif quote and c == quote then
            quote = nil
        elseif quote then
            parts[#parts + 1] = c
        elseif c == "'" or c == '"' then
            quote = c
        elseif c:find("%s") then
            break
        else
            parts[#parts + 1] = c
        end
        at = at + 1
    end
    return table.concat(parts), at, quote == nil
end

--- The words of a line as a shell would see them; `open` when the last one has not ended: a
--- quote is open, or nothing follows it.
---@return string[] words, boolean open, boolean broken
function M.words(line)
    local words, at, closed = {}, 1, true
    while true do
        at = line:find("%S", at)
        if not at then break end
        words[#words + 1], at, closed = word_at(line, at)
        if not closed then break end
    end
    return words, not line:find("%s$") or not closed, not closed
end

--- The definition of the command that a line runs, or nil for Lua.
local function command_of(line)
    local word, rest = line:match("^%s*([%w_-]+)(.*)$")
    local definition = word and by_name[word:lower()]
    if not definition then return nil end
    local blank, follow, then_ = rest:match("^(%s*)(.?)(.?)")
    if follow == "" then return definition end
    if blank ~= "" and follow == "[" and then_:find('^[%[{"]') then return definition end
    if follow:find("^[=(%[.:,]") then return nil end
    return definition
end
M.command_of = command_of

-- ---- What stands where -----------------------------------------------------------------

local OUTPUT = "table|json|lua|csv"
local COMMON = { request = true, ["min-index"] = true }

--- The parts of a usage line: those of the positionals in order, those of the options by name.
local function parts_of(definition)
    local positionals, options = {}, {}
    local text, at = definition.usage, #definition.name + 1
    while true do
        local from, to = text:find("^%s*%b[]%.*", at)
        if not from then from, to = text:find("^%s*%S+", at) end
        if not from then break end
        local part = text:sub(from, to):match("^%s*(.*)$")
        local name = part:match("^%[%-%-([%w-]+)")
        if name then options[name] = part else positionals[#positionals + 1] = part end
        at = to + 1
    end
    return positionals, options
end

--- Which positionals have a value, which options were given, and the option that waits for one.
local function given(definition, words, count)
    local positionals, used, waiting, ended = 0, {}, nil, false
    for i = 2, count do
        local word = words[i]
        if waiting then
            waiting = nil
        elseif not ended and word == "--" then
            ended = true
        elseif not ended and word:find("^%-%-.") then
            local name = word:match("^%-%-([^=]+)")
            used[name] = true
            if not word:find("=", 1, true) then
                for _, argument in ipairs(definition.args) do
                    if argument.option and argument.name == name and argument.type ~= "bool" then
                        waiting = argument
                    end
                end
                if COMMON[name] then waiting = { name = name, option = true, meta = "ID" } end
            end
        else
            positionals = positionals + 1
        end
    end
    return positionals, used, waiting
end

--- The command whose help a line such as `hold ?` asks for.
local function help_of(line) return line:match("^%s*([%w_-]+)%s+%?%s*$") end

local function positionals_of(definition)
    local list = {}
    for _, argument in ipairs(definition.args) do
        if not argument.option then list[#list + 1] = argument end
    end
    return list
end

--- What may still follow on a line, for the right edge of the screen; "" when there is nothing
--- to say.
---@param line string
---@return string
function M.hint(line)
    if line:find("^%s*set%s+output%f[%s\0]") then return line:find("^%s*set%s+output%s*$") and OUTPUT or "" end
    local definition = command_of(line)
    if not definition or help_of(line) then return "" end
    local words, open = M.words(line)
    if #words == 1 and open and not line:find("%s$") and words[1] ~= definition.name then return "" end
    local positionals, used, waiting = given(definition, words, #words)
    local labels, options = parts_of(definition)
    if waiting then
        return (options[waiting.name] or ""):match("%s([^%]]+)") or waiting.meta or waiting.name:upper()
    end
    local parts, list = {}, positionals_of(definition)
    local first = positionals + 1
    if positionals > 0 and list[#list] and list[#list].many then first = math.min(first, #list) end
    for i = first, #list do
        local label = labels[i] or list[i].name:upper()
        parts[#parts + 1] = i <= positionals and not label:find("^%[") and "[" .. label .. "]" or label
    end
    for _, argument in ipairs(definition.args) do
        if argument.option and (argument.many or not used[argument.name]) then
            parts[#parts + 1] = options[argument.name]
        end
    end
    return table.concat(parts, " ")
end

--- The question for the first argument that is missing, and its default; nil when a line is
--- whole, is Lua, or asks for nothing.
---@return string? question, string? default
function M.ask(line, started)
    local definition = command_of(line)
    if not definition or help_of(line) then return nil end
    local words, _, broken = M.words(line)
    if broken then return nil end
    local positionals = given(definition, words, #words)
    local argument = positionals_of(definition)[positionals + 1]
    if not argument or not (argument.required or argument.default ~= nil) then return nil end
    if argument.default ~= nil and not started then return nil end
    local meaning = argument.help or ""
    if argument.type == "one_of" and argument.choices then
        meaning = (meaning ~= "" and meaning .. ": " or "") .. table.concat(argument.choices, ", ")
    elseif argument.type ~= "string" and argument.type ~= argument.name then
        meaning = meaning ~= "" and meaning .. " (" .. argument.type .. ")" or argument.type
    end
    local question = argument.name .. (argument.many and ", one or more" or "")
    if meaning ~= "" then question = question .. ": " .. meaning end
    if argument.default ~= nil then
        return ("%s [%s]"):format(question, tostring(argument.default)), tostring(argument.default)
    end
    return question
end

--- A value as one word of a line; words of a repeated argument stay words.
function M.add(line, value, many)
    value = value:match("^%s*(.-)%s*$")
    local lua = value:find("^[=%(%.:,]") and not line:find("%S%s+%S") -- behind a command's name
    if lua or not many and value:find("[%s'\"\\]") and not value:find("^[%[{]") then
        value = '"' .. value:gsub('["\\]', "\\%0") .. '"'
    end
    return (line:gsub("%s+$", "")) .. " " .. value
end

--- Whether what M.ask() asks for takes several words.
function M.asks_many(line)
    local definition = command_of(line)
    local argument = definition and positionals_of(definition)[given(definition, M.words(line), #M.words(line)) + 1]
    return argument and argument.many and "many" or nil
end

-- ---- Dangerous, secret, the console's own --------------------------------------------------

-- What is asked before it happens, on a terminal; WHAT is the command's first argument. A function
-- says whether this line needs it.
local DANGEROUS = {
    ["remove-event"] = { "cancel every order of event WHAT and remove it",
        function(words) for _, w in ipairs(words) do if w == "--cancel-orders" then return true end end end },
    forget = { "replace the id of customer WHAT everywhere and drop the metadata of all their orders" },
    ["remove-node"] = { "take WHAT out of the cluster" },
    ["replace-node"] = { "take WHAT out of the cluster for good" },
    restore = { "replace the state of the whole cluster" },
    drain = { "stop this node's leadership and its clients" },
}

local function question_of(danger, words)
    local what = "(which one?)"
    for i = #words, 2, -1 do
        if not words[i]:find("^%-") then what = words[i] end
    end
    return ("This will %s. Go on? [y/N] "):format((danger[1]:gsub("WHAT", function() return what end)))
end

--- The question to ask before a line runs, or nil. Second: the line without --yes.
---@return string? question, string line
function M.confirm(line)
    local definition = command_of(line)
    if not definition or help_of(line) then return nil, line end
    local words = M.words(line)
    local own
    for _, argument in ipairs(definition.args) do own = own or argument.name == "yes" end
    local danger = DANGEROUS[definition.name]
    for i = 2, #words do
        if words[i] == "--yes" and not own then
            local plain = line:gsub("%s+%-%-yes%f[%s\0]", "", 1)
            return nil, plain
        end
    end
    if not danger or own or (danger[2] and not danger[2](words)) then return nil, line end
    return question_of(danger, words), line
end

--- The same for words of a shell: the question, or nil; and whether the place of --yes is given.
function M.confirm_words(json_words)
    local words = json_words
    local danger = DANGEROUS[words[1]:lower()]
    for i = 2, #words do
        if words[i] == "--yes" then return nil, tostring(i) end
    end
    if not danger or (danger[2] and not danger[2](words)) then return nil end
    return question_of(danger, words)
end

-- ---- Changes of the cluster ------------------------------------------------------------------

local function has(words, word)
    for i = 2, #words do
        if words[i] == word then return true end
    end
    return false
end

--- What is before a dangerous command's question: "show" is to run it with --dry-run and show the
--- quorum before and after; "none": these words change nothing, nobody is asked; nil: nothing.
function M.before_words(words)
    local name = words[1] and words[1]:lower()
    if has(words, "--yes") then return nil end
    if has(words, "--dry-run") or (name == "drain" and words[2] == "off") then return "none" end
    return (name == "remove-node" or name == "replace-node") and "show" or nil
end

--- The same for a line.
function M.before(line)
    local definition = command_of(line)
    if not definition or help_of(line) then return nil end
    return M.before_words { definition.name, table.unpack(M.words(line), 2) }
end

local CHANGES = { ["add-node"] = true, ["remove-node"] = true, ["replace-node"] = true }

--- What Ctrl-C has done to these words, where "interrupted" alone would leave somebody wondering.
function M.interrupted_words(words)
    if not CHANGES[words[1] and words[1]:lower()] or has(words, "--dry-run") then return nil end
    return "interrupted: what had not begun is left, what had begun is undone or ended by the leader within "
        .. "seconds; `nodes` shows the members"
end

--- The same for a line.
function M.interrupted(line)
    local definition = command_of(line)
    return definition and M.interrupted_words { definition.name, table.unpack(M.words(line), 2) }
end

--- Whether a line may be kept in the history file.
function M.keep(line)
    if line:find("^%s") or line:lower():find("passw", 1, true) or line:lower():find("secret", 1, true) then
        return nil
    end
    if line:find("%-%-code") or line:find("codes?%s*=") or line:find("^auth%s") then return nil end
    return "yes"
end

local FORMATS = { table = "for people", json = "as programs get it", lua = "a Lua table",
    csv = "rows with commas" }

--- A line that is the console's own: "format NAME", "exit", "line TEXT" (what to send instead)
--- or nil.
function M.own(line)
    local plain = line:match("^%s*(.-)%s*$")
    if plain == "exit" or plain == "quit" then return "exit" end
    local format = plain:match("^set%s+output%s+(%a+)$")
    if format and FORMATS[format] then return "format", format end
    if plain:find("^set%s+output%s*%S*$") then return "formats" end
    if plain == "?" then return "line", "help" end
    local word = help_of(line)
    if word then return "line", "help " .. word end
    local count = plain:match("^history%s*(%d*)$")
    if count then return "history", count end
end

-- ---- The prompt ------------------------------------------------------------------------------

--- `node0(leader)@default> `
---@param status { node: string, role: string, profile: string }?
function M.prompt(status, profile, silent)
    if not status then return "not connected> " end
    local role = silent and "not answering" or status.role
    return ("%s(%s)@%s> "):format(status.node, role, profile ~= "" and profile or status.profile or "usher")
end

--- In front of the lines that go on with a statement: the same width for every role.
function M.more() return "...> " end

-- ---- Completion lists -----------------------------------------------------------------------

local LIST_MAX = 120

--- Words of the console's own lines, which the node knows nothing of, beside the node's.
---@return { from: integer, items: table[], hint: string? }
local function with_own(answer, typed)
    local before, word = typed:match("^(%s*set%s+output%s+)(%a*)$")
    local items = {}
    if before then
        for name, help in pairs(FORMATS) do
            if name:sub(1, #word) == word then items[#items + 1] = { text = name, help = help } end
        end
        table.sort(items, function(a, b) return a.text < b.text end)
        return { from = #before, items = items, hint = OUTPUT }
    end
    before, word = typed:match("^(%s*set%s+)(%a*)$")
    if not before or ("output"):sub(1, #word) ~= word then return answer end
    items[1] = { text = "output", help = "how this console shows answers" }
    for _, item in ipairs(answer.items or {}) do items[#items + 1] = item end
    return { from = #before, items = items, hint = answer.hint }
end

local function width_of(text) return utf8.len(text) or #text end

--- What all candidates begin with.
local function common(items)
    local prefix = items[1].text
    for i = 2, #items do
        local text, n = items[i].text, 0
        while n < #prefix and prefix:byte(n + 1) == text:byte(n + 1) do n = n + 1 end
        prefix = prefix:sub(1, n)
    end
    while #prefix > 0 and not utf8.len(prefix) do prefix = prefix:sub(1, -2) end
    return prefix
end

local function listing(items, width)
    local explained, longest = false, 0
    for i = 1, math.min(#items, LIST_MAX) do
        explained = explained or items[i].help ~= nil
        longest = math.max(longest, width_of(items[i].text))
    end
    local lines = {}
    if explained and #items <= 30 then
        for _, item in ipairs(items) do
            local line = item.text .. (" "):rep(longest - width_of(item.text)) .. "  " .. (item.help or "")
            if width_of(line) >= width then line = line:sub(1, (utf8.offset(line, width) or #line + 1) - 1) end
            lines[#lines + 1] = (line:gsub("%s+$", ""))
        end
        return table.concat(lines, "\n")
    end
    local columns = math.max(1, width // (longest + 2))
    local count = math.min(#items, LIST_MAX)
    local rows = (count + columns - 1) // columns
    for r = 1, rows do
        local parts = {}
        for c = 0, columns - 1 do
            local item = items[c * rows + r]
            if item and c * rows + r <= count then
                parts[#parts + 1] = item.text .. (" "):rep(longest + 2 - width_of(item.text))
            end
        end
        lines[r] = (table.concat(parts):gsub("%s+$", ""))
    end
    if #items > count then lines[#lines + 1] = ("... and %d more"):format(#items - count) end
    return table.concat(lines, "\n")
end

--- What Tab does: the text to insert at the cursor, and what to show below the line ("" for
--- nothing).
---@param answer { from: integer, items: { text: string, help: string?, open: boolean? }[], hint: string? }
---@param typed string the line up to the cursor
---@return string insert, string show
function M.tab(answer, typed, width)
    answer = with_own(answer, typed)
    local items = answer.items or {}
    if #items == 0 then return "", answer.hint or "" end
    local have = typed:sub(answer.from + 1)
    if #items == 1 then
        local item = items[1]
        return item.text:sub(#have + 1) .. (item.open and "" or " "), ""
    end
    local prefix = common(items)
    if #prefix > #have and prefix:sub(1, #have) == have then return prefix:sub(#have + 1), "" end
    return "", listing(items, tonumber(width))
end

return M
