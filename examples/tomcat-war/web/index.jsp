<%@ page contentType="text/html; charset=utf-8" session="false" trimDirectiveWhitespaces="true"
    import="java.time.Instant,java.time.format.DateTimeParseException,moon.Phase" %>
<%
    String at = request.getParameter("at");
    Phase phase;
    try {
        phase = new Phase(at == null ? Instant.now() : Instant.parse(at));
    } catch (DateTimeParseException cause) {
        response.sendError(400, "at is a moment like 2026-01-31T12:00:00Z");
        return;
    }
%>
<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>The moon</title>
<body style="font: 1.2rem/1.5 system-ui; max-width: 30rem; margin: 10vh auto; padding: 0 1rem; text-align: center">
<svg width="200" height="200" viewBox="-100 -100 200 200" role="img" aria-label="the moon">
<circle r="90" fill="#334"/><path d="<%= phase.outline() %>" fill="#eed"/></svg>
<h1><%= phase.name() %></h1><p><%= phase.litPercent() %> % lit.</p></body></html>
