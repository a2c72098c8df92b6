// What the page brings along: its style, its script, its icon. They are named by their hashes in the policy that browsers
// hold it to, and nothing else is loaded or run.

extension StatsPage {
    static let icon =
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 11h12l-2 4H4z' fill='%231a6fb0'/%3E%3Cpath d='M7.25 1h1.5v9h-1.5zM9.5 2l4 7h-4z' fill='%23e08a00'/%3E%3C/svg%3E"

    public static let style = """
        :root{color-scheme:light dark;--ground:light-dark(#f6f7f9,#14171b);--card:light-dark(#fff,#1d2126);--ink:light-dark(#1b2026,#e8eaed);--soft:light-dark(#555e68,#a4adb8);--edge:light-dark(#dde1e6,#31373e);--mark:light-dark(#1a6fb0,#6fb5ee);--wash:light-dark(#d5e6f4,#203a50);--good:light-dark(#146c2e,#7ccf92);--bad:light-dark(#b3261e,#ff9d95);--warn:light-dark(#805000,#f4c765)}
        *{box-sizing:border-box}
        body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
        header,main{max-width:84rem;margin:0 auto;padding:0 1.25rem}
        header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 1.25rem;padding-top:1.1rem}
        h1{font-size:1.25rem;margin:0}h1 small,.facts,td small,summary small,.tile small{color:var(--soft);font-weight:400}
        h2{font-size:1.05rem;margin:0}h3{font-size:.8rem;margin:0 0 .25rem;color:var(--soft);font-weight:600}
        .facts{display:flex;flex-wrap:wrap;gap:.15rem 1rem;margin:0}
        .live{margin:0 0 0 auto;color:var(--soft)}.live.on{color:var(--good)}.live.stale{color:var(--bad);font-weight:600}
        .state{white-space:nowrap}.up{color:var(--good)}.down,.ejected,.trouble{color:var(--bad)}
        .busy,.starting,.draining{color:var(--warn)}.disabled{color:var(--soft)}
        .tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:.75rem;margin:1rem 0 1.5rem}
        .tile{background:var(--card);border:1px solid var(--edge);border-radius:.6rem;padding:.6rem .8rem .5rem;min-width:0}
        .tile h2{font-size:.8rem;font-weight:600;color:var(--soft)}.tile p{margin:.1rem 0 .35rem;font-size:1.55rem;line-height:1.2;font-weight:600;white-space:nowrap;color:var(--ink)}
        .tile small{font-size:.85rem}.tile.trouble{border-color:var(--bad)}.tile.trouble p{color:var(--bad)}.tile.busy{border-color:var(--warn)}.tile.busy p{color:var(--warn)}
        svg{vertical-align:middle}.line{width:100%;height:1.75rem;display:block}td .line{width:5.6rem;height:1.15rem}
        polyline{fill:none;stroke:var(--mark);stroke-width:1.5;vector-effect:non-scaling-stroke}polygon{fill:var(--wash)}
        .bar rect,.sizes rect{fill:var(--edge)}.bar .part,.sizes .part{fill:var(--mark)}.bar.full .part{fill:var(--warn)}.bar.free .part{fill:var(--soft)}
        .count{display:inline-block;min-width:3.2rem;padding-left:.5rem}
        .backend{margin:0 0 1.6rem}.about{display:flex;flex-wrap:wrap;align-items:baseline;gap:.2rem 1rem;margin-bottom:.4rem}
        .scroll{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:.6rem}
        table{border-collapse:collapse;width:100%}th,td{padding:.36rem .7rem;text-align:left;white-space:nowrap;font-weight:400}
        thead th{font-size:.8rem;color:var(--soft);font-weight:600}thead th:nth-child(1){width:17%}thead th:nth-child(2){width:12%}thead th:nth-child(3){width:12%}thead th:nth-child(5){width:13%}thead th:nth-child(8){width:16%}thead th:nth-child(10){width:8rem}tbody tr:not(.more)>*{border-top:1px solid var(--edge)}
        .n{text-align:right}abbr{text-decoration:none}.check{max-width:16rem;overflow:hidden;text-overflow:ellipsis;color:var(--soft)}
        summary{cursor:pointer}th details summary{font-weight:600}
        .more{display:none}tr:has(details[open])+.more{display:table-row}.more>td{white-space:normal;padding-bottom:1rem}
        .grid{display:flex;flex-wrap:wrap;gap:1rem 2.2rem;padding:.3rem 0}dl{display:grid;grid-template-columns:auto auto;gap:.05rem .8rem;margin:0;font-size:.88rem}
        dt{color:var(--soft)}dd{margin:0;text-align:right}.sizes td,.sizes th{padding:0 .5rem 0 0;border:0!important;font-size:.85rem}.sizes p{margin:0;font-size:.88rem;color:var(--soft)}
        .sizes table{width:auto}.whole{margin-top:.4rem;font-size:.9rem;color:var(--soft)}.whole .grid{color:var(--ink)}
        form{display:inline-block;margin:0 .3rem .3rem 0}td>form{margin:0}
        button,input{font:inherit;font-size:.85rem;color:var(--ink);background:var(--card);border:1px solid var(--soft);border-radius:.35rem;padding:.1rem .6rem}
        button{cursor:pointer}button:hover{background:var(--wash)}:focus-visible{outline:2px solid var(--mark);outline-offset:2px}input{width:4.5rem}label+button{margin-left:.3rem}
        ol{list-style:none;margin:.4rem 0 0;padding:0;font-size:.92rem}li{padding:.1rem 0}li time{color:var(--soft);margin-right:.4rem}
        footer{margin:1.5rem 0;font-size:.85rem}a{color:var(--mark)}footer .facts+.facts{margin-top:.3rem}
        .why{display:none}.shows>*>tr>:nth-child(10):not([colspan]){display:none}body.stale header h1~p:not(.live),body.stale main{opacity:.45}
        #said{position:fixed;bottom:1rem;left:50%;transform:translateX(-50%);margin:0;padding:.4rem 1rem;border-radius:.5rem;background:var(--ink);color:var(--ground)}#said:empty{display:none}
        @media(max-width:72rem){.why{display:block;white-space:normal;max-width:12rem}.check{display:none}thead th:nth-child(8){display:none}}
        @media(max-width:52rem){.wide,.wide.check{display:none}.tiles{grid-template-columns:repeat(auto-fit,minmax(9.2rem,1fr))}header,main{padding-left:.75rem;padding-right:.75rem}th,td{padding:.36rem .45rem}}
        @media(max-width:34rem){.bar{display:none}.count{padding:0;min-width:0}tr:not(.more)>:nth-child(7),tr:not(.more)>:nth-child(10){display:none}thead abbr,.p50{display:none}.scroll>table>tbody>tr>th{white-space:normal;overflow-wrap:anywhere;min-width:4.7rem}th,td{padding:.36rem .3rem}td.n small{display:none}td.state small:not(.why){display:none}button{padding:.45rem .8rem}thead th:nth-child(n){width:auto}.tiles{gap:.5rem}.tile:last-child{grid-column:span 2}.tile p{font-size:1.3rem}.live{margin:0}}
        """

    public static let script = """
        (()=>{'use strict';
        const live=()=>document.getElementById('live');let source=null,last=0,state='';
        const clock=()=>new Date().toISOString().slice(11,19);
        const say=(text,kind)=>{state=text+kind;const e=live();if(!e)return;const t=text;if(e.textContent!==t)e.textContent=t;e.className='live '+kind};
        const morph=(a,b)=>{
        if(a.nodeType!==b.nodeType||a.nodeName!==b.nodeName){a.replaceWith(b);return}
        if(a.nodeType===3){if(a.data!==b.data)a.data=b.data;return}
        if(a.id==='live'||a.nodeType!==1)return;
        for(const n of [...a.attributes])if(!b.hasAttribute(n.name)&&n.name!=='open')a.removeAttribute(n.name);
        for(const n of b.attributes)if(a.getAttribute(n.name)!==n.value)a.setAttribute(n.name,n.value);
        const x=[...a.childNodes],y=[...b.childNodes];
        y.forEach((c,i)=>x[i]?morph(x[i],c):a.append(c));x.slice(y.length).forEach(c=>c.remove())};
        const build=(html)=>{const t=document.createElement('template');t.innerHTML=html.trim();return t.content.firstElementChild};
        const name=()=>{const s=document.getElementById('status');if(s&&document.title!==s.dataset.title)document.title=s.dataset.title};
        let loading=false;
        const reload=async()=>{if(loading)return;loading=true;try{
        const r=await fetch(location.origin+'/',{headers:{Accept:'text/html'}});if(!r.ok)return;
        const d=new DOMParser().parseFromString(await r.text(),'text/html');
        const open=new Set([...document.querySelectorAll('tr details[open] summary')].map(e=>e.textContent));
        document.querySelector('main').replaceWith(d.querySelector('main'));
        document.body.dataset.shape=d.body.dataset.shape;
        for(const e of document.querySelectorAll('tr details summary'))if(open.has(e.textContent))e.parentNode.open=true;stop();start();
        }catch{}finally{loading=false}};
        const show=(e)=>{last=Date.now();const u=JSON.parse(e.data);say('live \\u25cf','on');
        if(u.shape!==document.body.dataset.shape){reload();return}
        for(const [id,html] of u.parts){const a=document.getElementById(id),b=build(html);if(a&&b)morph(a,b)}name()};
        const start=()=>{if(source)return;last=Date.now();source=new EventSource(location.origin+'/api/live');source.onmessage=show;
        source.onerror=()=>{if(source&&source.readyState===2){stop();setTimeout(()=>{if(!document.hidden)start()},5000)}}};
        const stop=()=>{if(source)source.close();source=null};
        let since='';
        setInterval(()=>{if(document.hidden)return;if(Date.now()-last>5000){if(!since)since=new Date(last).toISOString().slice(11,19);say('stale since '+since,'stale');document.title='? stale · ballast'}else since='';document.body.classList.toggle('stale',!!since)},1000);
        document.addEventListener('visibilitychange',()=>{if(document.hidden){stop();say('paused','')}else start()});
        const told=document.getElementById('said');let timer=0;
        const tell=(text)=>{told.textContent=text;clearTimeout(timer);timer=setTimeout(()=>{told.textContent=''},6000)};
        document.addEventListener('submit',async(e)=>{const f=e.target;e.preventDefault();
        try{const r=await fetch(location.origin+f.getAttribute('action'),{method:'POST',headers:{Accept:'application/json'},body:new URLSearchParams(new FormData(f))});
        const t=await r.text();let j={};try{j=JSON.parse(t)}catch{}
        tell(r.ok?j.server+' is '+j.state+(f.action.endsWith('/weight')?', weight '+j.weight:''):j.error||t||r.statusText)}
        catch{tell('ballast does not answer')}});
        if(!document.hidden)start();
        })();
        """
}
