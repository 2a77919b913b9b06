--- monitor: requests as they arrive at the node that is asked.
local node = ...

local COLUMNS = { "time", "client", "user", "what" }

local function plain(word) return (word:find("%s") or word == "") and "'" .. word .. "'" or word end

return command {
    name = "monitor", kind = "node", group = "cluster", access = "operator",
    summary = "Requests as they arrive at the node that is asked, until Ctrl-C", example = "monitor",
    args = {},
    run = function(ctx)
        if not ctx.streams then
            return nil, "monitor shows what comes: this answer would never end", "BADARG",
                "run it in a console or with `usher monitor`"
        end
        local feed <close> = node.feed("requests")
        ctx:columns(COLUMNS)
        ctx:progress("monitoring " .. node.status().address .. "; Ctrl-C ends it")
        while true do
            local text, why, code = feed:next(10000)
            if text then
                local r = json.decode(text)
                local words = { r.command }
                for _, word in ipairs(r.words) do words[#words + 1] = plain(word) end
                ctx:row { time = r.time, client = r.client, user = r.user ~= "" and r.user or nil,
                    what = table.concat(words, " ") }
            elseif code then
                return nil, why, code
            end
        end
    end,
}
